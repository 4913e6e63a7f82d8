// SPDX-License-Identifier: Apache-2.0
#include "models/byte_level.hpp"

#include <array>
#include <cstddef>

#include "models/unicode.hpp"

namespace fathom::models {
namespace {

// Bytes that are visible in Latin-1 stand for themselves; the others get U+0100 and on, in order.
struct Tables {
  std::array<std::string, 256> spelling;
  std::array<int, 0x144> byte{};  // -1: stands for none
};

const Tables& tables() {
  static const Tables made = [] {
    Tables t;
    t.byte.fill(-1);
    char32_t next = 0x100;
    for (char32_t b = 0; b < 256; ++b) {
      const bool visible = (b >= '!' && b <= '~') || (b >= 0xA1 && b != 0xAD);
      const char32_t character = visible ? b : next++;
      append_character(t.spelling[b], character);
      t.byte[character] = static_cast<int>(b);
    }
    return t;
  }();
  return made;
}

}  // namespace

std::string to_byte_level(std::string_view bytes) {
  const Tables& t = tables();
  std::string out;
  out.reserve(2 * bytes.size());
  for (const char c : bytes) out += t.spelling[static_cast<unsigned char>(c)];
  return out;
}

std::string from_byte_level(std::string_view piece) {
  const Tables& t = tables();
  std::string out;
  bool all = true;
  each_character(piece, [&](std::string_view, char32_t c) {
    if (c < t.byte.size() && t.byte[c] >= 0) {
      out += static_cast<char>(static_cast<unsigned char>(t.byte[c]));
    } else {
      all = false;
    }
  });
  return all ? out : std::string(piece);
}

}  // namespace fathom::models
