// SPDX-License-Identifier: Apache-2.0
#include "config/utf8.hpp"

#include <cstddef>

namespace fathom::config {

bool valid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) continue;
    int following = 0;
    std::uint32_t code = 0, smallest = 0;
    if (lead >= 0xC0 && lead < 0xE0) {
      following = 1, code = lead & 0x1FU, smallest = 0x80;
    } else if (lead >= 0xE0 && lead < 0xF0) {
      following = 2, code = lead & 0x0FU, smallest = 0x800;
    } else if (lead >= 0xF0 && lead < 0xF8) {
      following = 3, code = lead & 0x07U, smallest = 0x10000;
    } else {
      return false;
    }
    for (; following > 0; --following) {
      if (i == text.size()) return false;
      const auto next = static_cast<unsigned char>(text[i++]);
      if ((next & 0xC0U) != 0x80) return false;
      code = code << 6 | (next & 0x3FU);
    }
    if (code < smallest || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
  }
  return true;
}

void append_utf8(std::uint32_t code_point, std::string& out) {
  const auto push = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    push(code_point);
  } else if (code_point < 0x800) {
    push(0xC0 | code_point >> 6);
    push(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    push(0xE0 | code_point >> 12);
    push(0x80 | (code_point >> 6 & 0x3F));
    push(0x80 | (code_point & 0x3F));
  } else {
    push(0xF0 | code_point >> 18);
    push(0x80 | (code_point >> 12 & 0x3F));
    push(0x80 | (code_point >> 6 & 0x3F));
    push(0x80 | (code_point & 0x3F));
  }
}

}  // namespace fathom::config
