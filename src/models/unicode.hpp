// SPDX-License-Identifier: Apache-2.0
//
// Unicode: properties, case and normal forms of characters, by ICU. Internal to the tokenizer.
//
// Purpose      The reference library mixes several ages of Unicode: its normal forms and accents
//              are those of version 9, its punctuation that of version 8. Characters that came
//              later are left alone there, and so they are here.
// Threads      Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom::models {

// Calls back with each character of well-formed UTF-8: its bytes and its code point.
template <class F>
void each_character(std::string_view text, F&& each);

// The character that begins at the front of a text that is not empty.
char32_t first_character(std::string_view text);
void append_character(std::string& text, char32_t character);

bool is_white_space(char32_t c);
bool is_word(char32_t c);         // what Rust's regular expressions call \w
bool is_numeric(char32_t c);      // decimal digits, letter-like and other numbers
bool is_punctuation(char32_t c);  // ASCII's symbols too
bool is_mark(char32_t c);         // combining, of any kind
bool is_nonspacing_mark(char32_t c);
bool is_control(char32_t c);    // control, format, private use; tab and line ends are not
bool is_ideograph(char32_t c);  // what BERT pads with spaces

std::string to_lower(std::string_view text);

enum class NormalForm : std::uint8_t { nfc, nfd, nfkc, nfkd };
std::string to_normal_form(std::string_view text, NormalForm form);

// Extended grapheme clusters, one after another. The text outlives it.
class Graphemes {
 public:
  explicit Graphemes(std::string_view text);
  ~Graphemes();
  Graphemes(const Graphemes&) = delete;
  Graphemes& operator=(const Graphemes&) = delete;
  // The next cluster; empty at the end.
  std::string_view next();

 private:
  struct State;
  std::string_view text_;
  State* state_;
  std::size_t at_ = 0;
};

template <class F>
void each_character(std::string_view text, F&& each) {
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at + 1;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) ++end;
    const std::string_view bytes = text.substr(at, end - at);
    each(bytes, first_character(bytes));
    at = end;
  }
}

}  // namespace fathom::models
