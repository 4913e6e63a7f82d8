// SPDX-License-Identifier: Apache-2.0
#include "engine/chunk_update.hpp"

#include <algorithm>

namespace fathom::engine {

void update_chunk(const Plan& plan, swap::ChunkId id, std::span<const DecayRun> decay,
                  const ChunkUpdate& update, ThreadPool& pool) {
  const swap::Chunk& chunk = plan.layout.chunk(id);
  const ChunkView& view = update.view;
  const bool fp32 = plan.input.gradient_bytes == 4;
  for (const DecayRun& run : decay) {
    const std::uint64_t begin = std::max(run.first, chunk.first);
    const std::uint64_t end = std::min(run.first + run.elements, chunk.first + chunk.elements);
    if (begin >= end) continue;
    const kernels::AdamStep step =
        kernels::adam_step(update.hyper, update.t, update.grad_scale, run.decays);
    const std::uint64_t at = begin - chunk.first, count = end - begin;
    const auto* wide = reinterpret_cast<const float*>(update.gradient) + begin;
    const auto* narrow = reinterpret_cast<const std::uint16_t*>(update.gradient) + begin;
    auto* split = reinterpret_cast<std::uint16_t*>(view.weights) + at;
    if (view.low == nullptr)
      kernels::adamw_fp32(&pool, step, reinterpret_cast<float*>(view.weights) + at, view.m + at,
                          view.v + at, wide, count);
    else if (fp32)
      kernels::adamw_split(&pool, step, split, view.low + at, view.m + at, view.v + at, wide,
                           count);
    else
      kernels::adamw_split(&pool, step, split, view.low + at, view.m + at, view.v + at, narrow,
                           count);
  }
}

}  // namespace fathom::engine
