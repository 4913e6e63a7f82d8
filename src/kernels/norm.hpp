// SPDX-License-Identifier: Apache-2.0
//
// Gradient statistics in one pass: sum of squares and the first non-finite element.
//
// Purpose      The exact global norm for clipping and the overflow check, fused.
// Determinism  Partial sums in double over fixed blocks of 65536 elements with 8 lanes inside a block,
//              added in block order: the same bits for every SIMD target and thread count. `merge`
//              adds in call order.
// Threads      Safe on disjoint ranges. `pool` may be null: single thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/thread_pool.hpp"

namespace fathom::kernels {

struct GradientStats {
  double sum_squares = 0;                       // of the finite elements
  std::optional<std::size_t> first_non_finite;  // element index; NaN or infinity
};

GradientStats gradient_stats(ThreadPool* pool, const float* grad, std::size_t count);

}  // namespace fathom::kernels
