// SPDX-License-Identifier: Apache-2.0
//
// Gradient statistics in one pass: sum of squares and the first non-finite element.
//
// Purpose      The exact global norm for clipping and the overflow check, fused.
// Determinism  Partial sums in double over fixed blocks of 65536 elements, with 8 lanes inside a
//              block (lane j adds elements i with i % 8 == j in order; then lanes j and j + 4 are
//              added, then lanes 2 apart, then the two), added in block order: the same bits for
//              every SIMD target and thread count, and on CUDA. `merge` adds in call order.
// Overflow     Gradients that go on in fp16 overflow before fp32 does: with fp16_overflow_bits a
//              magnitude that would round to infinity there counts as non-finite.
// Threads      Safe on disjoint ranges. `pool` may be null: single thread.
// Units        Counts and indices are elements.
//
//   GradientStats total;
//   for (chunk) merge(total, gradient_stats(pool, chunk.grad, chunk.count), chunk.offset);
//   if (total.first_non_finite) …  else norm = std::sqrt(total.sum_squares);
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/thread_pool.hpp"

namespace fathom::kernels {

inline constexpr std::size_t norm_block = 65536;

struct GradientStats {
  double sum_squares = 0;                       // of the finite elements
  std::optional<std::size_t> first_non_finite;  // element index; NaN, infinity or overflow
};

// The smallest magnitude that is none, as the bits of an fp32 value.
inline constexpr std::uint32_t fp32_overflow_bits = 0x7f800000;  // infinity
inline constexpr std::uint32_t fp16_overflow_bits = 0x477ff000;  // 65520

GradientStats gradient_stats(ThreadPool* pool, const float* grad, std::size_t count,
                             std::uint32_t overflow_bits = fp32_overflow_bits);

// Adds the statistics of a part that begins at element `offset` of the whole.
void merge(GradientStats& total, const GradientStats& part, std::size_t offset);

}  // namespace fathom::kernels
