// SPDX-License-Identifier: Apache-2.0
//
// Element and Reduction: what travels between ranks, and how it is combined.
//
// Purpose      Half types travel as their bit patterns; `bytes` is for anything that is only moved
//              (doubles, flags, file contents): it can be gathered, broadcast and its maximum
//              taken, but it has no sum.
// Units        width() is in bytes.
//
//   width(Element::bf16) -> 2;  to_string(Element::bf16) -> "bf16"
#pragma once

#include <cstddef>
#include <cstdint>

namespace fathom::comm {

enum class Element : std::uint8_t { fp32, bf16, fp16, bytes };

// max is a logical or for flags of zero and one; a NaN on any rank makes the maximum NaN.
enum class Reduction : std::uint8_t { sum, max };

constexpr std::size_t width(Element element) {
  switch (element) {
    case Element::fp32: return 4;
    case Element::bf16:
    case Element::fp16: return 2;
    case Element::bytes: return 1;
  }
  return 0;
}

constexpr const char* to_string(Element element) {
  switch (element) {
    case Element::fp32: return "fp32";
    case Element::bf16: return "bf16";
    case Element::fp16: return "fp16";
    case Element::bytes: return "bytes";
  }
  return "unknown";
}

}  // namespace fathom::comm
