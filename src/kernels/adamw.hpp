// SPDX-License-Identifier: Apache-2.0
//
// AdamW and Adam on split or whole fp32 masters, on the CPU.
//
// Purpose      One fused pass over a run of elements: join the master, apply the gradient, update
//              both moments and the weight, split again. The same bits for every SIMD target,
//              thread count and cut of the run: fp32 in a fixed order, no fused multiply-add, IEEE
//              division and square root, every element on its own.
// Formula      Kingma & Ba 2015 with Loshchilov & Hutter's decoupled decay, in the order of torch:
//                g' = g · grad_scale                 (Adam, L2 form: g' += decay · x)
//                m  = beta1 · m + (1 − beta1) · g'
//                v  = beta2 · v + (1 − beta2) · g' · g'
//                d  = sqrt(v) / sqrt(1 − beta2^t) + eps
//                x  = x − lr · decay · x             (AdamW only, first)
//                x  = x − (lr / (1 − beta1^t)) · m / d
//              Bias corrections in double, rounded once to fp32. Products run from left to right; a
//              decay of 0 skips its term. A NaN result is stored as 7FC00000: the payload of a
//              computed NaN differs between machines, and this one stays a NaN in W.
//              Subnormals are kept, and cost some CPUs ten times the time.
// Split        W = (x + 0x8000) >> 16, lo = x & 0xffff on the fp32 pattern; back:
//              hi = W − (lo >> 15), x = hi << 16 | lo. Exact for every pattern. Never look for a
//              NaN in W: of the NaN patterns of x, 65 536 (upper half 7FFF or FFFF, lo >= 8000)
//              have W = +-0 and 65 534 (upper half 7F80 or FF80, lo < 8000) an infinity, as have
//              65 536 finite ones. Look at x or at the gradient.
// Threads      Safe on disjoint ranges. `pool` may be null: single thread.
// Units        Counts are elements. Pointers need the alignment of their type only; arrays must not
//              overlap.
//
//   const AdamStep step = adam_step(hyper, t, clip / loss_scale, true);
//   adamw_split(&pool, step, weight, low, m, v, grad_bf16, count);
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/thread_pool.hpp"

namespace fathom::kernels {

// One optimizer step's scalars, already rounded to what the kernel uses. Build with adam_step().
struct AdamStep {
  float grad_scale = 1;  // clipping and loss scale together
  float beta1 = 0, one_minus_beta1 = 0;
  float beta2 = 0, one_minus_beta2 = 0;
  float eps = 0;
  float step_size = 0;   // lr / (1 − beta1^t)
  float sqrt_bias2 = 1;  // sqrt(1 − beta2^t)
  float lr_decay = 0;    // AdamW: lr · weight_decay
  float l2_decay = 0;    // Adam (L2): weight_decay, else 0
};

struct AdamHyper {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled = true;  // AdamW; false: Adam with L2
  bool bias_correction = true;
};

// `step` counts from 1. `decay`: whether weight_decay applies to these elements.
AdamStep adam_step(const AdamHyper& hyper, std::int64_t step, double grad_scale, bool decay);

// Gradient as bf16 bits or fp32. All arrays have `count` elements.
void adamw_split(ThreadPool* pool, const AdamStep& step, std::uint16_t* weight, std::uint16_t* low,
                 float* m, float* v, const std::uint16_t* grad_bf16, std::size_t count);
void adamw_split(ThreadPool* pool, const AdamStep& step, std::uint16_t* weight, std::uint16_t* low,
                 float* m, float* v, const float* grad, std::size_t count);
void adamw_fp32(ThreadPool* pool, const AdamStep& step, float* weight, float* m, float* v,
                const float* grad, std::size_t count);

}  // namespace fathom::kernels
