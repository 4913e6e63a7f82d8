// SPDX-License-Identifier: Apache-2.0
//
// Reading whole small files and parsing JSON, with Errors instead of exceptions. Internal to
// models.
//
//   FATHOM_ASSIGN(const std::string text, read_text_file(path, 1 * MiB));
//   FATHOM_ASSIGN(const nlohmann::json value, parse_json(text, path.string()));
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/result.hpp"

namespace fathom::models {

// Errors: not_found; bad_input when it is no regular file or longer than `limit` bytes; io.
Result<std::string> read_text_file(const std::filesystem::path& path, std::uint64_t limit);

// Calls `use(line, number)` for each line that is not blank, numbered from 1, until one fails.
template <class Use>
Result<void> for_each_line(std::string_view text, const Use& use) {
  std::uint64_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    FATHOM_CHECK(use(line, number));
  }
  return {};
}

// Strict JSON; an object with the same key twice is refused, because readers would disagree about
// which one counts. `origin` names the text in the Error.
Result<nlohmann::json> parse_json(std::string_view text, std::string_view origin);

}  // namespace fathom::models
