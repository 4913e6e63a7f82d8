// SPDX-License-Identifier: Apache-2.0
//
// The split master's promises: its test vectors, recovery of all 2^32 patterns, its rounding, and
// the places where W hides a NaN.
#include <atomic>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "adam_reference.hpp"
#include "data.hpp"
#include "kernels/bits.hpp"
#include "kernels/convert.hpp"
#include "kernels/targets.hpp"

namespace fathom::kernels {
namespace {

struct Row {
  std::uint32_t x;
  std::uint16_t weight, low, even;
};
constexpr Row rows[] = {
    {0x3f800000, 0x3f80, 0x0000, 0x3f80}, {0x3f808000, 0x3f81, 0x8000, 0x3f80},
    {0x3f818000, 0x3f82, 0x8000, 0x3f82}, {0x3f807fff, 0x3f80, 0x7fff, 0x3f80},
    {0x3f808001, 0x3f81, 0x8001, 0x3f81}, {0xbf808000, 0xbf81, 0x8000, 0xbf80},
    {0x7f7fffff, 0x7f80, 0xffff, 0x7f80}, {0x7f800000, 0x7f80, 0x0000, 0x7f80},
    {0xff800000, 0xff80, 0x0000, 0xff80}, {0x7fc00000, 0x7fc0, 0x0000, 0x7fc0},
    {0x7fffffff, 0x8000, 0xffff, 0x7fff}, {0xffffffff, 0x0000, 0xffff, 0xffff},
    {0x00000001, 0x0000, 0x0001, 0x0000}, {0x00008000, 0x0001, 0x8000, 0x0000},
    {0x3dcccccd, 0x3dcd, 0xcccd, 0x3dcd}, {0x40490fdb, 0x4049, 0x0fdb, 0x4049},
};
constexpr std::size_t row_count = std::size(rows);
static_assert(row_count == 16);

TEST(SplitMaster, HasItsTestVectorsOnEveryTarget) {
  std::vector<float> x(row_count), back(row_count);
  std::vector<std::uint16_t> weight(row_count), low(row_count), even(row_count);
  for (std::size_t i = 0; i < row_count; ++i) x[i] = float_of(rows[i].x);
  for (const SimdTarget& target : simd_targets()) {
    SCOPED_TRACE(target.name);
    use_simd_target(target);
    split_master(nullptr, weight.data(), low.data(), x.data(), row_count);
    join_master(nullptr, back.data(), weight.data(), low.data(), row_count);
    fp32_to_bf16(nullptr, even.data(), x.data(), row_count);
    for (std::size_t i = 0; i < row_count; ++i) {
      EXPECT_EQ(weight[i], rows[i].weight) << std::hex << rows[i].x;
      EXPECT_EQ(low[i], rows[i].low) << std::hex << rows[i].x;
      EXPECT_EQ(even[i], rows[i].even) << std::hex << rows[i].x;
      EXPECT_EQ(bits_of(back[i]), rows[i].x);
    }
  }
  use_best_simd_target();
}

TEST(SplitMaster, OfOneValueAgreesWithTheArrays) {
  for (const Row& row : rows) {
    EXPECT_EQ(split_weight(row.x), row.weight);
    EXPECT_EQ(split_low(row.x), row.low);
    EXPECT_EQ(join_split(row.weight, row.low), row.x);
    EXPECT_EQ(fp32_to_bf16_bits(row.x), row.even);
  }
}

// Runs `check` over all 2^32 patterns in pieces of 65536 that stay in the cache, on all threads.
template <typename Check>
void for_all_patterns(const Check& check) {
  ThreadPool pool(2);
  pool.parallel_for(65536, 256, [&](std::size_t begin, std::size_t end) {
    std::vector<std::uint32_t> x(65536);
    for (std::size_t high = begin; high < end; ++high) {
      std::iota(x.begin(), x.end(), static_cast<std::uint32_t>(high << 16));
      check(reinterpret_cast<const float*>(x.data()), high);
    }
  });
}

TEST(SplitMaster, RecoversAllPatterns) {
  std::atomic<std::size_t> wrong = 0;
  for_all_patterns([&](const float* x, std::size_t high) {
    constexpr std::size_t count = 65536;
    thread_local std::vector<std::uint16_t> weight(count), low(count);
    thread_local std::vector<float> back(count);
    split_master(nullptr, weight.data(), low.data(), x, count);
    join_master(nullptr, back.data(), weight.data(), low.data(), count);
    if (std::memcmp(back.data(), x, count * sizeof(float)) != 0) ++wrong;
    // The lower half of the patterns of one upper half rounds down to it, the other half up.
    const auto down = static_cast<std::uint16_t>(high), up = static_cast<std::uint16_t>(high + 1);
    std::uint16_t difference = 0;
    for (std::size_t i = 0; i < count / 2; ++i) difference |= weight[i] ^ down;
    for (std::size_t i = count / 2; i < count; ++i) difference |= weight[i] ^ up;
    for (std::size_t i = 0; i < count; ++i)
      difference |= static_cast<std::uint16_t>(low[i] ^ static_cast<std::uint16_t>(i));
    if (difference != 0) ++wrong;
  });
  EXPECT_EQ(wrong, 0U);
}

TEST(SplitMaster, DiffersFromRoundingToEvenOnlyAtTiesUnderAnEvenUpperHalf) {
  // A tie has lo = 8000; one pattern for each upper half is enough to count them all.
  std::size_t differ = 0;
  for (std::uint32_t high = 0; high < 65536; ++high) {
    const std::uint32_t x = high << 16 | 0x8000;
    if (!is_finite_bits(x)) continue;
    if (split_weight(x) != fp32_to_bf16_bits(x)) {
      EXPECT_EQ(high % 2, 0U);
      ++differ;
    }
    for (const std::uint32_t near : {x - 1, x + 1})
      ASSERT_EQ(split_weight(near), fp32_to_bf16_bits(near)) << std::hex << near;
  }
  EXPECT_EQ(differ, 32'640U);
}

TEST(SplitMaster, HidesExactlyTheKnownNansAndOverflows) {
  // Why non-finite checks must read x or g: these are the patterns whose W lies about them.
  std::size_t nan_as_zero = 0, nan_as_infinity = 0, finite_as_infinity = 0;
  for (std::uint32_t exponent = 0x7f0; exponent < 0x800; ++exponent)
    for (std::uint32_t rest = 0; rest < (1U << 20); ++rest)
      for (const std::uint32_t sign : {0U, 0x80000000U}) {
        const std::uint32_t x = sign | exponent << 20 | rest;
        const std::uint32_t magnitude = split_weight(x) & 0x7fffU;
        if (is_nan_bits(x) && magnitude == 0) ++nan_as_zero;
        if (is_nan_bits(x) && magnitude == 0x7f80) ++nan_as_infinity;
        if (is_finite_bits(x) && magnitude == 0x7f80) ++finite_as_infinity;
      }
  // 7FFF8000 … 7FFFFFFF and FFFF8000 … FFFFFFFF.
  EXPECT_EQ(nan_as_zero, 65'536U);
  // 7F800001 … 7F807FFF and the negative ones: 2 * 32767; bf16 has no room for their payload.
  EXPECT_EQ(nan_as_infinity, 65'534U);
  EXPECT_EQ(nan_as_zero + nan_as_infinity, 131'070U);
  EXPECT_EQ(finite_as_infinity, 65'536U);
}

}  // namespace
}  // namespace fathom::kernels
