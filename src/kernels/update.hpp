// SPDX-License-Identifier: Apache-2.0
//
// update(): one optimizer step on a run of elements, for every optimizer and every way in which a
// master weight is kept, on the CPU.
//
// Purpose      One fused pass: join the master, apply the gradient, update states and weight, split
//              again. The same bits for every SIMD target, thread count and cut of the run: fp32 in
//              the order of optimizer.hpp, no fused multiply-add, IEEE division and square root,
//              every element on its own. A NaN result is stored as 7FC00000.
// Masters      split  W is bf16, low the lower 16 bits of the fp32 master (adamw.hpp)
//              whole  W is the fp32 master; there is no low
//              half   low is the fp32 master, W is it rounded to fp16 (to nearest, ties to even)
// Ownership    Borrows the arrays for the call.
// Threads      Safe on disjoint ranges. `pool` may be null: single thread.
// Units        Counts are elements. Pointers need the alignment of their type only; arrays must not
//              overlap. LAMB needs two passes: lamb.hpp.
//
//   update(&pool, make_step(hyper, t, scale, decays),
//          {.master = MasterFormat::split, .gradient = GradientFormat::bf16,
//           .weight = w, .low = lo, .m = m, .v = v, .grad = g}, count);
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/thread_pool.hpp"
#include "kernels/optimizer.hpp"

namespace fathom::kernels {

enum class MasterFormat : std::uint8_t { split, whole, half };
enum class GradientFormat : std::uint8_t { bf16, fp32, fp16 };

// Which gradients each master is updated with: split bf16 or fp32, whole fp32, half fp16 or fp32.
struct UpdateArrays {
  MasterFormat master = MasterFormat::split;
  GradientFormat gradient = GradientFormat::bf16;
  void* weight = nullptr;  // 16-bit patterns; whole: float
  void* low = nullptr;     // split: 16-bit patterns; half: float; whole: null
  float* m = nullptr;      // null where the optimizer keeps no such state
  float* v = nullptr;
  const void* grad = nullptr;  // 16-bit patterns or float
};

// Whether a step reads and writes these states.
template <class Step>
inline constexpr bool uses_m = true;
template <>
inline constexpr bool uses_m<SgdStep> = false;
template <>
inline constexpr bool uses_m<AdagradStep> = false;
template <class Step>
inline constexpr bool uses_v = true;
template <>
inline constexpr bool uses_v<LionStep> = false;
template <>
inline constexpr bool uses_v<SgdStep> = false;
template <>
inline constexpr bool uses_v<MomentumStep> = false;

// The arrays from element `begin` on.
UpdateArrays advanced(const UpdateArrays& arrays, std::size_t begin);

void update(ThreadPool* pool, const UpdateStep& step, const UpdateArrays& arrays,
            std::size_t count);

}  // namespace fathom::kernels
