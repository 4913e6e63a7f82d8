// SPDX-License-Identifier: Apache-2.0
//
// Single values as bit patterns: the split master, bf16 and fp16.
//
// Purpose      The definition of the formats for one element, for CUDA device code and for hosts
//              that handle a value at a time. Arrays on the CPU go through convert.hpp, same bits.
// Units        fp32 values travel as their 32-bit patterns, bf16 and fp16 as 16-bit patterns.
//
//   const std::uint16_t w = split_weight(x), lo = split_low(x);
//   x == join_split(w, lo)   // for all 2^32 patterns
#pragma once

#include <cstdint>

namespace fathom::kernels {

// What a NaN result of an update or of an accumulation is stored as.
inline constexpr std::uint32_t canonical_nan_bits = 0x7fc00000;

constexpr bool is_nan_bits(std::uint32_t x) { return (x & 0x7fffffffU) > 0x7f800000U; }
constexpr bool is_finite_bits(std::uint32_t x) { return (x & 0x7fffffffU) < 0x7f800000U; }

constexpr std::uint16_t split_weight(std::uint32_t x) {
  return static_cast<std::uint16_t>((x + 0x8000U) >> 16);
}
constexpr std::uint16_t split_low(std::uint32_t x) { return static_cast<std::uint16_t>(x); }
constexpr std::uint32_t join_split(std::uint16_t weight, std::uint16_t low) {
  const std::uint32_t lo = low;
  return ((weight - (lo >> 15)) << 16) | lo;
}

constexpr std::uint32_t bf16_to_fp32_bits(std::uint16_t value) {
  return static_cast<std::uint32_t>(value) << 16;
}

// To nearest, ties to even; a NaN keeps sign and upper payload and becomes quiet.
constexpr std::uint16_t fp32_to_bf16_bits(std::uint32_t x) {
  if (is_nan_bits(x)) return static_cast<std::uint16_t>((x >> 16) | 0x40U);
  return static_cast<std::uint16_t>((x + 0x7fffU + ((x >> 16) & 1U)) >> 16);
}

constexpr std::uint32_t fp16_to_fp32_bits(std::uint16_t value) {
  const std::uint32_t sign = (value & 0x8000U) << 16;
  std::uint32_t exponent = (value >> 10) & 0x1fU, fraction = value & 0x3ffU;
  if (exponent == 31) return sign | 0x7f800000U | (fraction << 13);
  if (exponent == 0) {
    if (fraction == 0) return sign;
    // A subnormal: shift its leading one to the place of the hidden bit.
    exponent = 1;
    for (; (fraction & 0x400U) == 0; fraction <<= 1)
      --exponent;  // may wrap; the sum below is right
    fraction &= 0x3ffU;
  }
  return sign | ((exponent + 112U) << 23) | (fraction << 13);
}

// To nearest, ties to even; a NaN keeps sign and upper payload and becomes quiet.
constexpr std::uint16_t fp32_to_fp16_bits(std::uint32_t x) {
  const std::uint32_t sign = (x >> 16) & 0x8000U, magnitude = x & 0x7fffffffU;
  if (magnitude > 0x7f800000U)
    return static_cast<std::uint16_t>(sign | 0x7e00U | ((magnitude >> 13) & 0x3ffU));
  if (magnitude >= 0x47800000U) return static_cast<std::uint16_t>(sign | 0x7c00U);
  std::uint32_t significand = 0, drop = 0;
  if (magnitude < 0x38800000U) {                                           // below 2^-14: subnormal
    if (magnitude < 0x33000000U) return static_cast<std::uint16_t>(sign);  // below 2^-25: zero
    significand = (magnitude & 0x7fffffU) | 0x800000U;
    drop = 126U - (magnitude >> 23);
  } else {
    significand = magnitude - 0x38000000U;  // bias 127 to 15; exponent and fraction round together
    drop = 13;
  }
  const std::uint32_t kept = significand >> drop, rest = significand & ((1U << drop) - 1U);
  const std::uint32_t half = 1U << (drop - 1U);
  const bool up = rest > half || (rest == half && (kept & 1U) != 0);
  return static_cast<std::uint16_t>(sign | (kept + (up ? 1U : 0U)));
}

}  // namespace fathom::kernels
