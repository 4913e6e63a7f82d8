// SPDX-License-Identifier: Apache-2.0
//
// Inputs for the kernel tests: every class of fp32 pattern, addressed by index, and arrays whose
// start is misaligned on purpose and whose surroundings must survive.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace fathom::kernels {

inline std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }
inline float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }

// Zeros, subnormals, extremes, infinities, quiet and signalling NaNs, ties of the roundings.
inline const std::vector<std::uint32_t>& special_patterns() {
  static const std::vector<std::uint32_t> patterns = [] {
    std::vector<std::uint32_t> list;
    for (const std::uint32_t magnitude :
         {0x00000000U, 0x00000001U, 0x00007fffU, 0x00008000U, 0x00008001U, 0x007fffffU, 0x00800000U,
          0x33000000U, 0x33000001U, 0x33800000U, 0x387fc000U, 0x387fe000U, 0x387fffffU, 0x38800000U,
          0x3f7fffffU, 0x3f800000U, 0x3f801000U, 0x3f803000U, 0x3f807fffU, 0x3f808000U, 0x3f818000U,
          0x477fe000U, 0x477fefffU, 0x477ff000U, 0x477fffffU, 0x47800000U, 0x5f000000U, 0x7f7f7fffU,
          0x7f7f8000U, 0x7f7fffffU, 0x7f800000U, 0x7f800001U, 0x7f802000U, 0x7fbfffffU, 0x7fc00000U,
          0x7fff7fffU, 0x7fff8000U, 0x7fffffffU}) {
      list.push_back(magnitude);
      list.push_back(magnitude | 0x80000000U);
    }
    return list;
  }();
  return patterns;
}

// Every upper half with the lower halves where roundings to bf16 and fp16 turn over, the special
// patterns, and random ones.
inline std::vector<float> hard_cases() {
  std::vector<float> cases;
  for (std::uint32_t high = 0; high < 65536; ++high)
    for (const std::uint32_t low : {0x0000U, 0x0001U, 0x0fffU, 0x1000U, 0x1001U, 0x2fffU, 0x3000U,
                                    0x7000U, 0x7fffU, 0x8000U, 0x8001U, 0xc000U, 0xffffU})
      cases.push_back(float_of(high << 16 | low));
  for (const std::uint32_t pattern : special_patterns()) cases.push_back(float_of(pattern));
  // Ties of fp16 subnormals: odd multiples of half of the smallest step, and their neighbours.
  for (std::uint32_t k = 0; k < 2048; ++k) {
    const float tie = std::ldexp(static_cast<float>(k), -25);
    for (const float value : {tie, std::nextafter(tie, 1.0F), std::nextafter(tie, -1.0F), -tie})
      cases.push_back(value);
  }
  const CounterRandom random(9, "convert");
  for (std::uint64_t i = 0; i < 200'000; ++i) cases.push_back(float_of(random.bits(i)));
  return cases;
}

// An array of T at `shift` elements after a 64-byte boundary, between guards that must stay as they
// are. `check_guards` fails the test when a kernel wrote outside.
template <typename T>
class Guarded {
 public:
  Guarded(std::size_t count, std::size_t shift) : count_(count) {
    bytes_.assign((count + shift + 2 * pad) * sizeof(T) + 64, guard);
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data() + pad * sizeof(T));
    first_ = (64 - address % 64) % 64 + (pad + shift) * sizeof(T);
  }
  T* data() { return reinterpret_cast<T*>(bytes_.data() + first_); }
  T& operator[](std::size_t i) { return data()[i]; }
  std::size_t size() const { return count_; }

  void check_guards() const {
    const std::size_t end = first_ + count_ * sizeof(T);
    for (std::size_t i = 0; i < bytes_.size(); ++i)
      if ((i < first_ || i >= end) && bytes_[i] != guard)
        FAIL() << "byte " << static_cast<std::ptrdiff_t>(i - first_) << " of an array of " << count_
               << " elements was written";
  }

 private:
  static constexpr std::size_t pad = 32;
  static constexpr unsigned char guard = 0xa5;
  std::size_t count_, first_ = 0;
  std::vector<unsigned char> bytes_;
};

// The index of the first difference in bits, or `count`.
template <typename T>
std::size_t first_difference(const T* a, const T* b, std::size_t count) {
  if (count == 0 || std::memcmp(a, b, count * sizeof(T)) == 0) return count;
  std::size_t i = 0;
  while (std::memcmp(a + i, b + i, sizeof(T)) == 0) ++i;
  return i;
}

}  // namespace fathom::kernels
