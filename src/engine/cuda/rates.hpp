// SPDX-License-Identifier: Apache-2.0
//
// What the GPU does, measured: the device's part of plan/Rates.
//
// Purpose      Computation is measured on the model's own layer (forward, recomputation and
//              gradients as a step runs them), copies between pinned memory and device in each
//              direction, the update kernel on arrays far larger than the cache.
// Ownership    Takes a few hundred MiB of device memory for a second or two and gives it back.
// Threads      One thread; the device is open (library.hpp).
// Units        FLOPs, bytes and elements per second.
//
//   FATHOM_ASSIGN(const CudaRates rates, measure_cuda(input));
#pragma once

#include "base/result.hpp"
#include "engine/plan/plan.hpp"

namespace fathom::engine {

struct CudaRates {
  double flops = 0, h2d = 0, d2h = 0, update = 0, convert = 0;
};

Result<CudaRates> measure_cuda(const PlanInput& input);

}  // namespace fathom::engine
