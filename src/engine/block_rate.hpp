// SPDX-License-Identifier: Apache-2.0
//
// Block rate: FLOP/s of a model's own blocks on this machine.
//
// Purpose      The bound that a step is held against is its computation alone: the same blocks at
//              the same batch, everything resident. A bare matrix product would flatter the bound,
//              so one layer is run forward, recomputed and differentiated, once, on made-up
//              weights.
// Threads      One call at a time.
// Units        Matrix-product FLOPs (2 per weight and token forward, 6 more for training) per
//              second.
#pragma once

#include "engine/plan/plan.hpp"

namespace fathom::engine {

// `micro_batch` × `length` tokens; training counts forward and recomputed backward. Falls back to a
// plain matrix product where one layer of the model is too large to be tried.
double measure_block_flops(const models::ModelSpec& spec, ComputeType compute, Mode mode,
                           std::uint64_t micro_batch, std::uint64_t length);

}  // namespace fathom::engine
