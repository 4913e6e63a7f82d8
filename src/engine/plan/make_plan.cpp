// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "engine/plan/planner.hpp"

namespace fathom::engine {
namespace {

Error too_small(const PlanInput& input, std::uint64_t smallest, std::uint64_t gradients) {
  Error error =
      Error(Errc::bad_config, "plan the memory")
          .on(fmt::format("host memory {}", format_bytes(*input.host_memory)))
          .because(fmt::format("the smallest that works for this model and batch is {} ({} bytes)",
                               format_bytes(smallest), smallest));
  if (input.mode == Mode::train && input.lazy && gradients >= *input.host_memory)
    return std::move(error).remedy(fmt::format(
        "with gradient_clipping the gradients of all units wait in host memory ({}): set "
        "\"gradient_clipping\": 0, or raise fathom.host_memory",
        format_bytes(gradients)));
  const bool bound_weights = input.weights_lowest == Tier::host;
  const bool bound_states = input.mode == Mode::train && input.states_lowest == Tier::host;
  if (bound_weights || bound_states)
    return std::move(error).remedy(fmt::format(
        "raise fathom.host_memory to it, or set zero_optimization.{}.device to \"nvme\" with an "
        "nvme_path",
        bound_states ? "offload_optimizer" : "offload_param"));
  if (input.mode == Mode::inference)
    return std::move(error).remedy("raise fathom.host_memory to it, or shorten the rows");
  return std::move(error).remedy(
      "raise fathom.host_memory to it, or lower train_micro_batch_size_per_gpu or --seq-len");
}

}  // namespace

Result<Plan> make_plan(const PlanInput& input, bool fixed_chunks) {
  std::uint64_t smallest = UINT64_MAX, gradients = 0;
  // Small chunks and few slots leave memory for placement, large ones make long transfers that
  // overlap better: the predicted time decides, and of equals the first, which has the larger
  // chunks.
  const std::uint64_t largest =
      fixed_chunks ? input.chunk_elements
                   : std::max(smallest_chunk, round_down(input.chunk_elements, 4096));
  std::optional<Plan> best;
  for (std::uint64_t chunk = largest;;
       chunk = std::max(smallest_chunk, round_up(chunk / 2, 4096))) {
    for (const bool more_slots : {true, false}) {
      // Once nothing is on nvme, no chunk and no slot makes it better.
      const bool settled = best && !best->steady.has_transfers();
      Planner planner(input, chunk);
      gradients = planner.waiting_gradients();
      const bool fits = planner.place(more_slots);
      smallest = std::min(smallest, planner.smallest());
      if (!fits || settled) break;
      Plan plan = planner.finish();
      if (!best || plan.prediction.seconds < best->prediction.seconds * 0.999)
        best = std::move(plan);
    }
    if (chunk <= smallest_chunk || fixed_chunks) break;
  }
  if (!best) return fail(too_small(input, smallest, gradients));
  best->smallest_host_memory = smallest;
  return std::move(*best);
}

}  // namespace fathom::engine
