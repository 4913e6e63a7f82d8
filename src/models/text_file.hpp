// SPDX-License-Identifier: Apache-2.0
//
// Reading whole small files and parsing JSON, with Errors instead of exceptions. Internal to
// models.
//
//   FATHOM_ASSIGN(const std::string text, read_text_file(path, 1 * MiB));
//   FATHOM_ASSIGN(const nlohmann::json value, parse_json(text, path.string()));
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/result.hpp"

namespace fathom::models {

// Errors: not_found; bad_input when it is no regular file or longer than `limit` bytes; io.
Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t limit);

// Strict JSON; an object with the same key twice is refused, because readers would disagree about
// which one counts. `origin` names the text in the Error.
Result<nlohmann::json> parse_json(std::string_view text, std::string_view origin);

}  // namespace fathom::models
