// SPDX-License-Identifier: Apache-2.0
//
// update(): one optimizer step on a run of elements in device memory.
//
// Purpose      The update of what is resident on the device. The same bits as kernels/update.hpp,
//              element by element, for every optimizer, master and gradient format: single IEEE
//              operations in the same order, nothing fused, subnormals kept, the same pattern for
//              NaN results. LAMB needs whole tensors in host memory and is not offered here.
// Guard        Where a guard is given (device memory) and has met an element that is not finite,
//              the kernel changes nothing: for updates that start before the host knows.
// Ownership    Borrows device arrays until the stream has run the kernel.
// Threads      Launches may come from any thread. Arrays must not overlap.
// Units        Counts are elements. Pointers need the alignment of their type; all of them at
//              multiples of 16 bytes (the store's layout gives 256) take the faster path.
//
//   const UpdateStep step = make_step(hyper, t, clip, true);
//   if (cuda::Status status = cuda::update(stream, step, arrays, count)) …
#pragma once

#include <cstddef>

#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/norm.hpp"
#include "kernels/update.hpp"

namespace fathom::kernels::cuda {

[[nodiscard]] Status update(Stream stream, const UpdateStep& step, const UpdateArrays& arrays,
                            std::size_t count, const DeviceGradientStats* guard = nullptr);

}  // namespace fathom::kernels::cuda
