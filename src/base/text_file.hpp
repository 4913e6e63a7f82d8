// SPDX-License-Identifier: Apache-2.0
//
// Text files: read whole, or written so that a reader sees the old or the new content, never half.
//
// Threads      Safe; two writers of one path race for the last word.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace fathom {

// Errors name the path: not_found, io.
Result<std::string> read_text_file(const std::string& path);

// Writes to a temporary name in the same directory, syncs, renames, syncs the directory.
Result<void> write_text_file(const std::string& path, std::string_view text);

// Makes renames and new names in a directory durable.
Result<void> sync_directory(const std::string& path);

// Creates the directory and its parents; fine when it is there.
Result<void> make_directories(const std::string& path);

}  // namespace fathom
