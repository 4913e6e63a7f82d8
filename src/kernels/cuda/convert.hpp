// SPDX-License-Identifier: Apache-2.0
//
// Conversions, the split master and gradient accumulation on a CUDA device.
//
// Purpose      kernels/convert.hpp for device memory: same functions, same roundings, same bits.
// Ownership    Borrows device arrays until the stream has run the kernel. Arrays must not overlap.
// Threads      Launches may come from any thread.
// Units        Counts are elements; 16-bit values travel as their bit patterns.
//
//   if (cuda::Status status = cuda::accumulate_bf16(stream, sum, grad, count)) …
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/launch.hpp"

namespace fathom::kernels::cuda {

[[nodiscard]] Status bf16_to_fp32(Stream stream, float* out, const std::uint16_t* in,
                                  std::size_t count);
[[nodiscard]] Status fp32_to_bf16(Stream stream, std::uint16_t* out, const float* in,
                                  std::size_t count);
[[nodiscard]] Status fp16_to_fp32(Stream stream, float* out, const std::uint16_t* in,
                                  std::size_t count);
[[nodiscard]] Status fp32_to_fp16(Stream stream, std::uint16_t* out, const float* in,
                                  std::size_t count);

[[nodiscard]] Status split_master(Stream stream, std::uint16_t* weight, std::uint16_t* low,
                                  const float* x, std::size_t count);
[[nodiscard]] Status join_master(Stream stream, float* x, const std::uint16_t* weight,
                                 const std::uint16_t* low, std::size_t count);

// sum[i] += grad[i], in fp32; a NaN sum is stored as 7FC00000.
[[nodiscard]] Status accumulate_bf16(Stream stream, float* sum, const std::uint16_t* grad,
                                     std::size_t count);
[[nodiscard]] Status accumulate_fp32(Stream stream, float* sum, const float* grad,
                                     std::size_t count);

}  // namespace fathom::kernels::cuda
