// SPDX-License-Identifier: Apache-2.0
#include "models/unicode.hpp"

#include <array>
#include <memory>

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>

#include "base/assert.hpp"
#include "models/regex.hpp"
#include "models/utf8.hpp"

namespace fathom::models {
namespace {

UChar32 point(char32_t c) { return static_cast<UChar32>(c); }

bool in_category(char32_t c, std::uint32_t mask) { return (U_GET_GC_MASK(point(c)) & mask) != 0; }

// Whether `c` stood in Unicode `version` or an older one.
bool existed_in(char32_t c, std::uint8_t version) {
  UVersionInfo age{};
  u_charAge(point(c), age);
  return age[0] != 0 && age[0] <= version;
}

// The normal form of the characters of Unicode 9; later ones pass through.
const icu::Normalizer2& normalizer_of(NormalForm form) {
  static const auto made = [] {
    struct All {
      icu::UnicodeSet known;
      std::array<std::unique_ptr<icu::FilteredNormalizer2>, 4> by_form;
    };
    auto all = std::make_unique<All>();
    UErrorCode status = U_ZERO_ERROR;
    all->known.applyPattern(icu::UnicodeString::fromUTF8("[:age=9.0:]"), status);
    all->known.freeze();
    const std::array<const icu::Normalizer2*, 4> whole = {
        icu::Normalizer2::getNFCInstance(status), icu::Normalizer2::getNFDInstance(status),
        icu::Normalizer2::getNFKCInstance(status), icu::Normalizer2::getNFKDInstance(status)};
    FATHOM_ASSERT(U_SUCCESS(status), "ICU carries its own data");
    for (std::size_t i = 0; i < whole.size(); ++i)
      all->by_form[i] = std::make_unique<icu::FilteredNormalizer2>(*whole[i], all->known);
    return all;
  }();
  return *made->by_form[static_cast<std::size_t>(form)];
}

}  // namespace

char32_t first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[i]));
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) return lead;
  if (lead < 0xE0) return (lead & 0x1FU) << 6 | (byte(1) & 0x3FU);
  if (lead < 0xF0) return (lead & 0x0FU) << 12 | (byte(1) & 0x3FU) << 6 | (byte(2) & 0x3FU);
  return (lead & 0x07U) << 18 | (byte(1) & 0x3FU) << 12 | (byte(2) & 0x3FU) << 6 |
         (byte(3) & 0x3FU);
}

void append_character(std::string& text, char32_t c) {
  const auto add = [&](char32_t byte) {
    text += static_cast<char>(static_cast<unsigned char>(byte));
  };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0U | c >> 6);
    add(0x80U | (c & 0x3FU));
  } else if (c < 0x10000) {
    add(0xE0U | c >> 12);
    add(0x80U | (c >> 6 & 0x3FU));
    add(0x80U | (c & 0x3FU));
  } else {
    add(0xF0U | c >> 18);
    add(0x80U | (c >> 12 & 0x3FU));
    add(0x80U | (c >> 6 & 0x3FU));
    add(0x80U | (c & 0x3FU));
  }
}

bool is_white_space(char32_t c) { return u_isUWhiteSpace(point(c)) != 0; }

bool is_word(char32_t c) {
  return u_isUAlphabetic(point(c)) != 0 ||
         in_category(c, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK) || c == 0x200C || c == 0x200D;
}

bool is_numeric(char32_t c) { return in_category(c, U_GC_N_MASK); }

bool is_punctuation(char32_t c) {
  if (c < 0x80) return c > 0x20 && c < 0x7F && !in_category(c, U_GC_L_MASK | U_GC_ND_MASK);
  // Two signs were punctuation in Unicode 8 and are something else today.
  return c == 0x166D || c == 0x111C9 || (in_category(c, U_GC_P_MASK) && existed_in(c, 8));
}

bool is_mark(char32_t c) { return in_category(c, U_GC_M_MASK) && existed_in(c, 9) && c != 0x111C9; }

bool is_nonspacing_mark(char32_t c) { return in_category(c, U_GC_MN_MASK) && existed_in(c, 8); }

bool is_control(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return in_category(c, U_GC_CC_MASK | U_GC_CO_MASK) ||
         (in_category(c, U_GC_CF_MASK) && existed_in(c, 8));
}

bool is_ideograph(char32_t c) {
  static constexpr std::array<std::array<char32_t, 2>, 8> blocks = {{{0x3400, 0x4DBF},
                                                                     {0x4E00, 0x9FFF},
                                                                     {0xF900, 0xFAFF},
                                                                     {0x20000, 0x2A6DF},
                                                                     {0x2A700, 0x2B73F},
                                                                     {0x2B740, 0x2B81F},
                                                                     {0x2B920, 0x2CEAF},
                                                                     {0x2F800, 0x2FA1F}}};
  for (const auto& [first, last] : blocks)
    if (c >= first && c <= last) return true;
  return false;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  each_character(text, [&](std::string_view bytes, char32_t c) {
    if (c == 0x130) {
      out += "i\xCC\x87";  // the one character whose lower case is two
    } else if (const auto lower = static_cast<char32_t>(u_tolower(point(c))); lower != c) {
      append_character(out, lower);
    } else {
      out += bytes;
    }
  });
  return out;
}

std::string to_normal_form(std::string_view text, NormalForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::UnicodeString whole =
      icu::UnicodeString::fromUTF8({text.data(), static_cast<std::int32_t>(text.size())});
  icu::UnicodeString normal;
  normalizer_of(form).normalize(whole, normal, status);
  FATHOM_ASSERT(U_SUCCESS(status), "normalising well-formed text can't fail");
  std::string out;
  normal.toUTF8String(out);
  return out;
}

struct Graphemes::State {
  Regex::Search search;
};

Graphemes::Graphemes(std::string_view text) : text_(text) {
  static const Regex cluster = [] {
    auto made = Regex::compile("\\X");
    FATHOM_ASSERT(made, "\\X is an expression");
    return std::move(*made);
  }();
  state_ = new State{Regex::Search(cluster, text)};
}

Graphemes::~Graphemes() { delete state_; }

std::string_view Graphemes::next() {
  const auto match = state_->search.next();
  if (!match) return {};
  return text_.substr(match->begin, match->end - match->begin);
}

}  // namespace fathom::models
