// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "data.hpp"
#include "kernels/targets.hpp"

namespace fathom::kernels {
namespace {

// The documented order, element by element.
GradientStats reference_stats(const float* grad, std::size_t count) {
  GradientStats stats;
  for (std::size_t start = 0; start < count; start += 65536) {
    double lane[8] = {};
    for (std::size_t i = start; i < std::min(count, start + 65536); ++i) {
      const double value = grad[i];
      if (std::isfinite(value)) {
        lane[i % 8] += value * value;
      } else if (!stats.first_non_finite) {
        stats.first_non_finite = i;
      }
    }
    for (const std::size_t distance : {4U, 2U, 1U})
      for (std::size_t j = 0; j < distance; ++j) lane[j] += lane[j + distance];
    stats.sum_squares += lane[0];
  }
  return stats;
}

std::vector<float> normals(std::size_t count) {
  const CounterRandom random(3, "gradient");
  std::vector<float> grad(count);
  for (std::size_t i = 0; i < count; ++i)
    grad[i] = std::ldexp(random.normal(i), static_cast<int>(random.bits(i) % 40) - 30);
  return grad;
}

void expect_same(const GradientStats& got, const GradientStats& want) {
  EXPECT_EQ(std::bit_cast<std::uint64_t>(got.sum_squares),
            std::bit_cast<std::uint64_t>(want.sum_squares))
      << got.sum_squares << " against " << want.sum_squares;
  EXPECT_EQ(got.first_non_finite, want.first_non_finite);
}

class NormEveryTarget : public testing::Test {
 protected:
  ~NormEveryTarget() override { use_best_simd_target(); }
};

TEST_F(NormEveryTarget, HasTheSameBitsForEveryLengthAndAlignment) {
  const std::vector<float> source = normals(300);
  for (const SimdTarget& target : simd_targets()) {
    SCOPED_TRACE(target.name);
    use_simd_target(target);
    for (std::size_t count = 0; count <= source.size(); ++count)
      for (const std::size_t shift : {0U, 1U, 3U, 7U}) {
        Guarded<float> grad(count, shift);
        for (std::size_t i = 0; i < count; ++i) grad[i] = source[i];
        expect_same(gradient_stats(nullptr, grad.data(), count),
                    reference_stats(grad.data(), count));
      }
  }
}

TEST_F(NormEveryTarget, HasTheSameBitsForEveryThreadCount) {
  std::vector<float> grad = normals(1'000'007);
  grad[999'999] = std::numeric_limits<float>::quiet_NaN();
  grad[700'001] = -std::numeric_limits<float>::infinity();
  const GradientStats want = reference_stats(grad.data(), grad.size());
  ASSERT_EQ(want.first_non_finite, 700'001U);
  ThreadPool one(1), three(3);
  for (const SimdTarget& target : simd_targets()) {
    SCOPED_TRACE(target.name);
    use_simd_target(target);
    for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), &one, &three})
      expect_same(gradient_stats(pool, grad.data(), grad.size()), want);
  }
}

TEST(GradientStats, CrossesItsInternalBatches) {
  // More than 512 blocks; the bad element lies in the second batch.
  std::vector<float> grad(513 * norm_block + 5, 0.25F);
  grad[512 * norm_block + 77] = std::numeric_limits<float>::infinity();
  ThreadPool pool(2);
  const GradientStats stats = gradient_stats(&pool, grad.data(), grad.size());
  EXPECT_EQ(stats.sum_squares, 0.0625 * static_cast<double>(grad.size() - 1));
  EXPECT_EQ(stats.first_non_finite, 512 * norm_block + 77);
}

TEST(GradientStats, OfNothingIsZero) {
  const GradientStats stats = gradient_stats(nullptr, nullptr, 0);
  EXPECT_EQ(stats.sum_squares, 0.0);
  EXPECT_FALSE(stats.first_non_finite);
}

TEST(GradientStats, IsCloseToALongDoubleSum) {
  const std::vector<float> grad = normals(500'000);
  long double exact = 0;
  for (const float value : grad)
    exact += static_cast<long double>(value) * static_cast<long double>(value);
  const double sum = gradient_stats(nullptr, grad.data(), grad.size()).sum_squares;
  // 8192 additions a lane, all positive: far below 1e-12.
  EXPECT_NEAR(sum, static_cast<double>(exact), 1e-12 * static_cast<double>(exact));
}

TEST(GradientStats, FindsEveryKindOfNonFiniteElementAtEveryPlace) {
  for (const std::uint32_t pattern :
       {0x7f800000U, 0xff800000U, 0x7fc00000U, 0xffc00001U, 0x7f800001U, 0x7fffffffU, 0xffffffffU})
    for (std::size_t place = 0; place < 41; ++place) {
      std::vector<float> grad(41, 2.0F);
      grad[place] = float_of(pattern);
      const GradientStats stats = gradient_stats(nullptr, grad.data(), grad.size());
      EXPECT_EQ(stats.first_non_finite, place) << std::hex << pattern;
      EXPECT_EQ(stats.sum_squares, 160.0) << "the finite elements count";
    }
}

TEST(GradientStats, NeitherOverflowsNorLosesSubnormals) {
  const float huge = std::numeric_limits<float>::max(), tiny = float_of(1);
  const std::vector<float> large(1000, huge), small(1000, tiny);
  const double square = static_cast<double>(huge) * huge;
  EXPECT_NEAR(gradient_stats(nullptr, large.data(), 1000).sum_squares, 1000 * square,
              1e-12 * 1000 * square);
  EXPECT_FALSE(gradient_stats(nullptr, large.data(), 1000).first_non_finite);
  EXPECT_EQ(gradient_stats(nullptr, small.data(), 1000).sum_squares, 1000 * std::ldexp(1.0, -298));
}

TEST(GradientStats, MergeAddsInOrderAndKeepsTheFirstBadElement) {
  GradientStats total;
  merge(total, {.sum_squares = 1, .first_non_finite = std::nullopt}, 0);
  EXPECT_FALSE(total.first_non_finite);
  merge(total, {.sum_squares = 2, .first_non_finite = 5}, 100);
  merge(total, {.sum_squares = 4, .first_non_finite = 1}, 200);
  EXPECT_EQ(total.sum_squares, 7.0);
  EXPECT_EQ(total.first_non_finite, 105U);
  merge(total, {.sum_squares = 0, .first_non_finite = 3}, 10);
  EXPECT_EQ(total.first_non_finite, 13U);
}

TEST(GradientStats, CountsWhatFp16CannotHoldAsOverflow) {
  // 65520 is half way between the largest fp16 number and the next: it rounds to infinity.
  std::vector<float> grad(100, 1.0F);
  const auto first = [&](std::uint32_t bits) {
    return gradient_stats(nullptr, grad.data(), grad.size(), bits).first_non_finite;
  };
  grad[41] = std::nextafter(65520.0F, 0.0F);
  EXPECT_FALSE(first(fp16_overflow_bits));
  grad[41] = -65520.0F;
  EXPECT_EQ(first(fp16_overflow_bits), 41U);
  EXPECT_FALSE(first(fp32_overflow_bits));
  grad[17] = std::nanf("");
  EXPECT_EQ(first(fp16_overflow_bits), 17U);
  EXPECT_EQ(first(fp32_overflow_bits), 17U);
}

}  // namespace
}  // namespace fathom::kernels
