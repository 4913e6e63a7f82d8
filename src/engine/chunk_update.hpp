// SPDX-License-Identifier: Apache-2.0
//
// ChunkUpdate: one chunk of a unit through the optimizer's kernels, decaying runs and others.
//
// Purpose      What an update operation does once its buffers are there; the CPU's kernels and the
//              GPU's give the same bits.
// Ownership    Borrows everything.
// Threads      Safe on disjoint chunks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/thread_pool.hpp"
#include "engine/residence.hpp"
#include "kernels/adamw.hpp"

namespace fathom::engine {

struct ChunkUpdate {
  ChunkView view;
  const std::byte* gradient = nullptr;  // of the whole unit, PlanInput::gradient_bytes an element
  kernels::AdamHyper hyper;
  std::int64_t t = 0;
  double grad_scale = 1;
};

// `decay`: the unit's runs (plan/flat_unit.hpp).
void update_chunk(const Plan& plan, swap::ChunkId chunk, std::span<const DecayRun> decay,
                  const ChunkUpdate& update, ThreadPool& pool);

}  // namespace fathom::engine
