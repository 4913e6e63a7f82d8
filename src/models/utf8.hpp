// SPDX-License-Identifier: Apache-2.0
//
// UTF-8: well-formedness and repair. Internal to the tokenizer and the data reader.
//
//   valid_utf8("a\xff") -> "a\uFFFD"
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fathom::models {

struct Utf8Unit {
  std::size_t length = 0;  // bytes of the character, or of the ill-formed sequence
  bool valid = false;
};

// What begins at `at` (< text.size()). An ill-formed sequence is the longest prefix of a character
// that could still have become one (Unicode 15, table 3-7), at least one byte.
Utf8Unit utf8_unit(std::string_view text, std::size_t at);

// `text` with one U+FFFD in place of each ill-formed sequence, as Python's errors="replace" does.
std::string valid_utf8(std::string_view text);

bool is_valid_utf8(std::string_view text);

inline constexpr std::string_view replacement_character = "\xEF\xBF\xBD";

constexpr bool is_utf8_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
}

}  // namespace fathom::models
