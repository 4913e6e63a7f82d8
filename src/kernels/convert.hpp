// SPDX-License-Identifier: Apache-2.0
//
// Conversions between fp32, bf16 and fp16 arrays, the split master, and gradient accumulation.
//
// Purpose      SIMD loops over raw arrays; the same bits for every target and thread count.
// Rounding     fp32 → bf16 and fp32 → fp16 round to nearest, ties to even; NaN stays NaN: sign
//              and upper payload kept, made quiet. Widening keeps every bit of a NaN. The split
//              master rounds W to nearest, ties away from zero, see adamw.hpp.
// Threads      Safe on disjoint ranges. `pool` may be null: single thread.
// Units        Counts are elements; 16-bit values travel as their bit patterns. Pointers need the
//              alignment of their type only; arrays must not overlap.
//
//   accumulate_bf16(&pool, sum, grad, count);  // once a micro-batch, in order
//   split_master(&pool, weight, low, x, count);
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/thread_pool.hpp"

namespace fathom::kernels {

void bf16_to_fp32(ThreadPool* pool, float* out, const std::uint16_t* in, std::size_t count);
void fp32_to_bf16(ThreadPool* pool, std::uint16_t* out, const float* in, std::size_t count);
void fp16_to_fp32(ThreadPool* pool, float* out, const std::uint16_t* in, std::size_t count);
void fp32_to_fp16(ThreadPool* pool, std::uint16_t* out, const float* in, std::size_t count);

// x -> (W, lo) and back; exact for all 2^32 patterns.
void split_master(ThreadPool* pool, std::uint16_t* weight, std::uint16_t* low, const float* x,
                  std::size_t count);
void join_master(ThreadPool* pool, float* x, const std::uint16_t* weight, const std::uint16_t* low,
                 std::size_t count);

// sum[i] += grad[i], in fp32: the order of calls is the order of the micro-batches.
// A NaN sum is stored as 7FC00000, see adamw.hpp.
void accumulate_bf16(ThreadPool* pool, float* sum, const std::uint16_t* grad, std::size_t count);
void accumulate_fp32(ThreadPool* pool, float* sum, const float* grad, std::size_t count);

}  // namespace fathom::kernels
