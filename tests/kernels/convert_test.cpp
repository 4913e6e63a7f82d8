// SPDX-License-Identifier: Apache-2.0
#include "kernels/convert.hpp"

#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "data.hpp"
#include "kernels/bits.hpp"
#include "kernels/targets.hpp"

namespace fathom::kernels {
namespace {

// A 16-bit float's value from the definition of its fields.
double value_of(std::uint16_t bits, int fraction_bits, int bias) {
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int exponents = 1 << (15 - fraction_bits);
  const int exponent = (bits >> fraction_bits) & (exponents - 1);
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == exponents - 1) return fraction != 0 ? NAN : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

// Round to nearest even by scaling to an integer; nearbyint uses the default rounding mode.
std::uint16_t rounded(float x, int fraction_bits, int bias) {
  const std::uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const std::uint16_t infinity =
      static_cast<std::uint16_t>(((1 << (15 - fraction_bits)) - 1) << fraction_bits);
  const double magnitude = std::fabs(static_cast<double>(x));
  if (std::isinf(magnitude)) return sign | infinity;
  int exponent = magnitude == 0 ? 1 - bias : std::max(std::ilogb(magnitude), 1 - bias);
  // The quantum is 2^(exponent - fraction_bits); the fields add up to steps from zero.
  const double quanta = std::nearbyint(std::ldexp(magnitude, fraction_bits - exponent));
  const long steps =
      static_cast<long>(quanta) + (static_cast<long>(exponent + bias - 1) << fraction_bits);
  return sign | static_cast<std::uint16_t>(std::min<long>(steps, infinity));
}

class ConvertEveryTarget : public testing::Test {
 protected:
  ~ConvertEveryTarget() override { use_best_simd_target(); }
  static void each_target(const std::function<void()>& body) {
    for (const SimdTarget& target : simd_targets()) {
      SCOPED_TRACE(target.name);
      use_simd_target(target);
      body();
    }
  }
};

std::vector<std::uint16_t> all_16_bit() {
  std::vector<std::uint16_t> all(65536);
  std::iota(all.begin(), all.end(), static_cast<std::uint16_t>(0));
  return all;
}

TEST_F(ConvertEveryTarget, WidensEveryBf16) {
  const auto all = all_16_bit();
  each_target([&] {
    std::vector<float> wide(all.size());
    bf16_to_fp32(nullptr, wide.data(), all.data(), all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      ASSERT_EQ(bits_of(wide[i]), static_cast<std::uint32_t>(i) << 16);
      const double value = value_of(all[i], 7, 127);
      ASSERT_TRUE(std::isnan(value) || static_cast<double>(wide[i]) == value) << std::hex << i;
      ASSERT_EQ(bf16_to_fp32_bits(all[i]), bits_of(wide[i]));
    }
  });
}

TEST_F(ConvertEveryTarget, WidensEveryFp16) {
  const auto all = all_16_bit();
  each_target([&] {
    std::vector<float> wide(all.size());
    fp16_to_fp32(nullptr, wide.data(), all.data(), all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      const double value = value_of(all[i], 10, 15);
      if (std::isnan(value)) {
        ASSERT_EQ(bits_of(wide[i]),
                  (all[i] & 0x8000U) << 16 | 0x7f800000U | (all[i] & 0x3ffU) << 13);
      } else {
        ASSERT_EQ(static_cast<double>(wide[i]), value) << std::hex << i;
        ASSERT_EQ(std::signbit(wide[i]), (all[i] & 0x8000) != 0) << std::hex << i;
      }
      ASSERT_EQ(fp16_to_fp32_bits(all[i]), bits_of(wide[i])) << std::hex << i;
    }
  });
}

TEST_F(ConvertEveryTarget, NarrowsToBf16RoundingToEven) {
  const std::vector<float> cases = hard_cases();
  each_target([&] {
    std::vector<std::uint16_t> narrow(cases.size());
    fp32_to_bf16(nullptr, narrow.data(), cases.data(), cases.size());
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const std::uint32_t x = bits_of(cases[i]);
      const std::uint16_t want = std::isnan(cases[i]) ? static_cast<std::uint16_t>(x >> 16 | 0x40)
                                                      : rounded(cases[i], 7, 127);
      ASSERT_EQ(narrow[i], want) << std::hex << x;
      ASSERT_EQ(fp32_to_bf16_bits(x), want) << std::hex << x;
    }
  });
}

TEST_F(ConvertEveryTarget, NarrowsToFp16RoundingToEven) {
  const std::vector<float> cases = hard_cases();
  each_target([&] {
    std::vector<std::uint16_t> narrow(cases.size());
    fp32_to_fp16(nullptr, narrow.data(), cases.data(), cases.size());
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const std::uint32_t x = bits_of(cases[i]);
      const std::uint16_t want =
          std::isnan(cases[i])
              ? static_cast<std::uint16_t>((x >> 16 & 0x8000) | 0x7e00 | (x >> 13 & 0x3ff))
              : rounded(cases[i], 10, 15);
      ASSERT_EQ(narrow[i], want) << std::hex << x;
      ASSERT_EQ(fp32_to_fp16_bits(x), want) << std::hex << x;
    }
  });
}

TEST_F(ConvertEveryTarget, AccumulatesInFp32InTheOrderOfTheCalls) {
  // 2^24 + 1 + 1 is 2^24 when the ones are added one by one, and 2^24 + 2 otherwise.
  constexpr std::size_t count = 37;
  each_target([&] {
    std::vector<float> sum(count, 16777216.0F);
    const std::vector<float> one(count, 1.0F);
    const std::vector<std::uint16_t> one_bf16(count, 0x3f80);
    accumulate_fp32(nullptr, sum.data(), one.data(), count);
    accumulate_bf16(nullptr, sum.data(), one_bf16.data(), count);
    for (const float value : sum) ASSERT_EQ(value, 16777216.0F);
    std::vector<float> other(count, 1.0F);
    accumulate_bf16(nullptr, other.data(), one_bf16.data(), count);
    for (const float value : other) ASSERT_EQ(value, 2.0F);
  });
}

TEST_F(ConvertEveryTarget, AccumulatesSpecialValuesWithTheSameBits) {
  const auto& special = special_patterns();
  std::vector<float> left, right;
  std::vector<std::uint16_t> right_bf16;
  for (const std::uint32_t a : special)
    for (const std::uint32_t b : special) {
      left.push_back(float_of(a));
      right.push_back(float_of(b));
      right_bf16.push_back(static_cast<std::uint16_t>(b >> 16));
    }
  each_target([&] {
    std::vector<float> sum = left, sum_bf16 = left;
    accumulate_fp32(nullptr, sum.data(), right.data(), right.size());
    accumulate_bf16(nullptr, sum_bf16.data(), right_bf16.data(), right.size());
    for (std::size_t i = 0; i < left.size(); ++i) {
      const float want = left[i] + right[i];
      const float want_bf16 = left[i] + float_of(static_cast<std::uint32_t>(right_bf16[i]) << 16);
      ASSERT_EQ(bits_of(sum[i]), std::isnan(want) ? 0x7fc00000U : bits_of(want)) << i;
      ASSERT_EQ(bits_of(sum_bf16[i]), std::isnan(want_bf16) ? 0x7fc00000U : bits_of(want_bf16))
          << i;
    }
  });
}

// All loops over every length and alignment, and over threads: compared with the single-value
// definitions, which the tests above hold against independent ones.
void check_all_loops(ThreadPool* pool, std::size_t count, std::size_t shift) {
  Guarded<float> x(count, shift), wide(count, shift + 1), half(count, shift + 2),
      back(count, shift), sum(count, shift + 3), sum_bf16(count, shift);
  Guarded<std::uint16_t> bf16(count, shift + 1), fp16(count, shift), weight(count, shift + 2),
      low(count, shift + 3);
  const CounterRandom random(4, "loops");
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = float_of(random.bits(i));
    sum[i] = sum_bf16[i] = static_cast<float>(i);
  }
  fp32_to_bf16(pool, bf16.data(), x.data(), count);
  fp32_to_fp16(pool, fp16.data(), x.data(), count);
  bf16_to_fp32(pool, wide.data(), bf16.data(), count);
  fp16_to_fp32(pool, half.data(), fp16.data(), count);
  split_master(pool, weight.data(), low.data(), x.data(), count);
  join_master(pool, back.data(), weight.data(), low.data(), count);
  accumulate_fp32(pool, sum.data(), x.data(), count);
  accumulate_bf16(pool, sum_bf16.data(), bf16.data(), count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t bits = bits_of(x[i]);
    const float total = static_cast<float>(i) + x[i], total_bf16 = static_cast<float>(i) + wide[i];
    const bool right =
        bf16[i] == fp32_to_bf16_bits(bits) && fp16[i] == fp32_to_fp16_bits(bits) &&
        bits_of(wide[i]) == bf16_to_fp32_bits(bf16[i]) &&
        bits_of(half[i]) == fp16_to_fp32_bits(fp16[i]) && weight[i] == split_weight(bits) &&
        low[i] == split_low(bits) && bits_of(back[i]) == bits &&
        bits_of(sum[i]) == (std::isnan(total) ? 0x7fc00000U : bits_of(total)) &&
        bits_of(sum_bf16[i]) == (std::isnan(total_bf16) ? 0x7fc00000U : bits_of(total_bf16));
    ASSERT_TRUE(right) << "element " << i << " of " << count << ", shift " << shift;
  }
  for (const auto* array : {&x, &wide, &half, &back, &sum, &sum_bf16}) array->check_guards();
  for (const auto* array : {&bf16, &fp16, &weight, &low}) array->check_guards();
}

TEST_F(ConvertEveryTarget, HasTheSameBitsForEveryLengthAndAlignment) {
  each_target([] {
    for (std::size_t count = 0; count <= 300; ++count) check_all_loops(nullptr, count, count % 16);
    for (std::size_t shift = 0; shift < 16; ++shift) check_all_loops(nullptr, 77, shift);
  });
}

TEST_F(ConvertEveryTarget, HasTheSameBitsForEveryThreadCount) {
  ThreadPool three(3);
  each_target([&] {
    check_all_loops(nullptr, 200'003, 0);
    check_all_loops(&three, 200'003, 1);
  });
}

}  // namespace
}  // namespace fathom::kernels
