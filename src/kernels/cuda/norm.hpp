// SPDX-License-Identifier: Apache-2.0
//
// Gradient statistics on a CUDA device in one pass: sum of squares, first non-finite element.
//
// Purpose      The exact global norm without a copy to the host and without waiting for the device:
//              a total in device memory takes part after part, and is read once at the end.
// Determinism  Blocks, lanes and order of kernels/norm.hpp: a part has the bits of gradient_stats,
//              the total those of merge() called in the order of the stream.
// Ownership    Borrows grad, workspace and total until the stream has run the kernels. One
//              workspace may serve all parts of one stream.
// Threads      Launches may come from any thread.
// Units        Counts, indices and offsets are elements; the workspace is in bytes.
//
//   cuda::reset_stats(stream, total);
//   for (part)
//     cuda::add_gradient_stats(stream, part.grad, part.count, part.offset, workspace, total);
//   copy *total to the host, synchronise, read
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/launch.hpp"
#include "kernels/norm.hpp"

namespace fathom::kernels::cuda {

inline constexpr std::uint64_t no_index = ~std::uint64_t{0};

struct DeviceGradientStats {
  double sum_squares = 0;                     // of the finite elements
  std::uint64_t first_non_finite = no_index;  // element index; NaN, infinity or overflow
};

// Bytes of device memory, aligned to 8, that a part of `count` elements needs.
std::size_t gradient_stats_workspace(std::size_t count);

[[nodiscard]] Status reset_stats(Stream stream, DeviceGradientStats* total);
[[nodiscard]] Status add_gradient_stats(Stream stream, const float* grad, std::size_t count,
                                        std::uint64_t offset, void* workspace,
                                        DeviceGradientStats* total,
                                        std::uint32_t overflow_bits = fp32_overflow_bits);

}  // namespace fathom::kernels::cuda
