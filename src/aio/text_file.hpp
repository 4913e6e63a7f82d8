// SPDX-License-Identifier: Apache-2.0
//
// Small text files of the kernel (/proc, /sys): read whole, trimmed, absent as nullopt.
#pragma once

#include <charconv>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

namespace fathom::aio {

inline std::optional<std::string> read_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// The integer that `text` begins with, after blanks.
inline std::optional<std::int64_t> leading_integer(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, status] = std::from_chars(text.data() + first, text.data() + text.size(), value);
  if (status != std::errc()) return std::nullopt;
  return value;
}

inline std::optional<std::int64_t> read_integer(const std::string& path) {
  const auto text = read_text(path);
  return text ? leading_integer(*text) : std::nullopt;
}

}  // namespace fathom::aio
