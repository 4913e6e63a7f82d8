// SPDX-License-Identifier: Apache-2.0
//
// LAMB (You et al. 2020) on the CPU: Adam's direction, scaled for each tensor by the ratio of its
// weight's norm to the direction's.
//
// Purpose      Two passes over a tensor. lamb_moments() updates m and v and sums the squares of x
//              and of the direction u; lamb_apply() forms u again from what stands there and moves
//              x. In the order of the formula, every operation rounding once:
//                g' = g · grad_scale
//                m  = beta1 · m + (1 − beta1) · g';  v = beta2 · v + (1 − beta2) · g' · g'
//                u  = m / (sqrt(v) + eps) + decay · x      (eps_inside_sqrt: sqrt(v + eps))
//                x  = x − rate · trust · u
//                trust = |x| / |u| within [min_coeff, max_coeff]; 1 when either norm is 0
//              rate holds both bias corrections, as the common fused kernel has it.
// Determinism  Sums in double over groups of 4096 elements of the unit that the tensor lies in
//              (`offset` is its first element there), 8 lanes in a group as in norm.hpp, groups
//              added in order: the same bits however the unit is cut at multiples of 4096.
// Threads      Safe on disjoint ranges. `pool` may be null: single thread.
// Units        Elements.
//
//   LambNorms norms;
//   for (piece) lamb_moments(&pool, step, piece.arrays, piece.count, piece.offset, norms);
//   const float rate = lamb_rate(step, norms);
//   for (piece) lamb_apply(&pool, step, rate, piece.arrays, piece.count);
#pragma once

#include <cstddef>

#include "base/thread_pool.hpp"
#include "kernels/update.hpp"

namespace fathom::kernels {

inline constexpr std::size_t lamb_group = 4096;

struct LambNorms {
  double weight = 0, direction = 0;  // sums of squares
};

// Adds this piece's groups to `total`, in order.
void lamb_moments(ThreadPool* pool, const LambStep& step, const UpdateArrays& arrays,
                  std::size_t count, std::size_t offset, LambNorms& total);

// rate · trust, rounded to what the kernel uses.
float lamb_rate(const LambStep& step, const LambNorms& norms);

void lamb_apply(ThreadPool* pool, const LambStep& step, float rate, const UpdateArrays& arrays,
                std::size_t count);

}  // namespace fathom::kernels
