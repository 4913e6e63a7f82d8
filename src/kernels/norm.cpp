// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm.hpp"

#include "kernels/simd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm.cpp"
// This file is compiled once for each SIMD target; what follows HWY_ONCE, once only.
#include <cstring>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Eight lanes in as many vectors as the target needs: lane j adds the elements i with i % 8 == j.
using F64 = hn::CappedTag<double, 8>;
using F32 = hn::Rebind<float, F64>;
using I32 = hn::RebindToSigned<F32>;
inline constexpr std::size_t width = hn::MaxLanes(F64());
inline constexpr std::size_t vectors = 8 / width;
static_assert(width * vectors == 8);

// Adds eight elements to the lanes; returns whether all were finite. Others add +0, which changes
// nothing: a sum of squares is never -0.
HWY_INLINE bool add_eight(hn::Vec<F64> (&sums)[vectors], const float* grad, std::int32_t limit) {
  bool finite = true;
  for (std::size_t k = 0; k < vectors; ++k) {
    const auto value = hn::LoadU(F32(), grad + k * width);
    const auto magnitude = hn::And(hn::BitCast(I32(), value), hn::Set(I32(), 0x7fffffff));
    const auto good = hn::RebindMask(F32(), hn::Lt(magnitude, hn::Set(I32(), limit)));
    finite = finite && hn::AllTrue(F32(), good);
    const auto wide = hn::PromoteTo(F64(), hn::IfThenElseZero(good, value));
    sums[k] = hn::Add(sums[k], hn::Mul(wide, wide));
  }
  return finite;
}

// The sum of one block; returns whether all elements were finite.
bool block_sum(const float* grad, std::size_t count, std::uint32_t overflow_bits, double* sum) {
  const auto limit = static_cast<std::int32_t>(overflow_bits);
  hn::Vec<F64> sums[vectors];
  for (auto& lanes : sums) lanes = hn::Zero(F64());
  bool finite = true;
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) finite &= add_eight(sums, grad + i, limit);
  if (i < count) {
    float rest[8] = {};
    std::memcpy(rest, grad + i, (count - i) * sizeof(float));
    finite &= add_eight(sums, rest, limit);
  }
  double lane[8];
  for (std::size_t k = 0; k < vectors; ++k) hn::StoreU(sums[k], F64(), lane + k * width);
  *sum = ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
  return finite;
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <array>
#include <bit>

#include "kernels/ranges.hpp"

namespace fathom::kernels {
namespace {

HWY_EXPORT(block_sum);

constexpr std::size_t none = ~std::size_t{0};

std::size_t find_non_finite(const float* grad, std::size_t begin, std::size_t end,
                            std::uint32_t overflow_bits) {
  const auto overflows = [overflow_bits](float value) {
    return (std::bit_cast<std::uint32_t>(value) & 0x7fffffffU) >= overflow_bits;
  };
  return static_cast<std::size_t>(std::find_if(grad + begin, grad + end, overflows) - grad);
}

}  // namespace

GradientStats gradient_stats(ThreadPool* pool, const float* grad, std::size_t count,
                             std::uint32_t overflow_bits) {
  // Partial results of a batch of blocks live on the stack: the step allocates nothing.
  constexpr std::size_t batch_blocks = 512;
  constexpr std::size_t batch_elements = batch_blocks * norm_block;
  std::array<double, batch_blocks> partial;
  std::array<std::size_t, batch_blocks> bad;
  GradientStats stats;
  for (std::size_t start = 0; start < count; start += batch_elements) {
    const std::size_t size = std::min(batch_elements, count - start);
    for_ranges(pool, size, norm_block, [&](std::size_t begin, std::size_t end) {
      const std::size_t block = begin / norm_block;
      const bool finite = HWY_DYNAMIC_DISPATCH(block_sum)(grad + start + begin, end - begin,
                                                          overflow_bits, &partial[block]);
      bad[block] = finite ? none : find_non_finite(grad, start + begin, start + end, overflow_bits);
    });
    for (std::size_t block = 0; block * norm_block < size; ++block) {
      stats.sum_squares += partial[block];
      if (bad[block] != none && !stats.first_non_finite) stats.first_non_finite = bad[block];
    }
  }
  return stats;
}

void merge(GradientStats& total, const GradientStats& part, std::size_t offset) {
  total.sum_squares += part.sum_squares;
  if (!part.first_non_finite) return;
  const std::size_t index = offset + *part.first_non_finite;
  total.first_non_finite = std::min(total.first_non_finite.value_or(index), index);
}

}  // namespace fathom::kernels
#endif  // HWY_ONCE
