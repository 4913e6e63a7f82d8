// SPDX-License-Identifier: Apache-2.0
//
// AdamW and Adam on split or whole fp32 masters, on a CUDA device.
//
// Purpose      The update of what is resident in device memory. The same bits as kernels/adamw.hpp,
//              element by element: single IEEE operations in the same order, nothing fused,
//              subnormals kept, the same pattern for NaN results.
// Ownership    Borrows device arrays until the stream has run the kernel.
// Threads      Launches may come from any thread. Arrays must not overlap.
// Units        Counts are elements. Pointers need the alignment of their type; all of them at
//              multiples of 16 bytes (the store's layout gives 256) take the faster path.
//
//   const AdamStep step = adam_step(hyper, t, clip, true);
//   if (cuda::Status status = cuda::adamw_split(stream, step, w, lo, m, v, grad, count)) …
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/adamw.hpp"
#include "kernels/cuda/launch.hpp"

namespace fathom::kernels::cuda {

[[nodiscard]] Status adamw_split(Stream stream, const AdamStep& step, std::uint16_t* weight,
                                 std::uint16_t* low, float* m, float* v,
                                 const std::uint16_t* grad_bf16, std::size_t count);
[[nodiscard]] Status adamw_split(Stream stream, const AdamStep& step, std::uint16_t* weight,
                                 std::uint16_t* low, float* m, float* v, const float* grad,
                                 std::size_t count);
[[nodiscard]] Status adamw_fp32(Stream stream, const AdamStep& step, float* weight, float* m,
                                float* v, const float* grad, std::size_t count);

}  // namespace fathom::kernels::cuda
