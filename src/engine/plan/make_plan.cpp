// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/units.hpp"
#include "engine/plan/planner.hpp"

namespace fathom::engine {
namespace {

constexpr std::uint64_t smallest_chunk = 256 * KiB;  // elements

Error host_too_small(const PlanInput& input, std::uint64_t smallest, std::uint64_t gradients) {
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
  const bool bound_weights = input.lowest_weights() == Tier::host;
  const bool bound_states = input.mode == Mode::train && input.lowest_states() == Tier::host;
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

Error device_too_small(const PlanInput& input, std::uint64_t smallest) {
  Error error =
      Error(Errc::bad_config, "plan the memory")
          .on(fmt::format("device memory {}", format_bytes(*input.device_memory)))
          .because(fmt::format("the smallest that works for this model and batch is {} ({} bytes)",
                               format_bytes(smallest), smallest));
  const bool weights = input.weights_lowest == Tier::device;
  const bool states = input.mode == Mode::train && input.states_lowest == Tier::device;
  if (weights || states)
    return std::move(error).remedy(
        fmt::format("raise fathom.device_memory to it, or set zero_optimization.{}.device to "
                    "\"cpu\" or \"nvme\"",
                    weights ? "offload_param" : "offload_optimizer"));
  if (input.mode == Mode::inference)
    return std::move(error).remedy("raise fathom.device_memory to it, or shorten the rows");
  return std::move(error).remedy(
      "raise fathom.device_memory to it, or lower train_micro_batch_size_per_gpu or --seq-len");
}

std::vector<Policy> policies(const PlanInput& input) {
  if (!input.on_cuda()) return {{.more_slots = true}, {.more_slots = false}};
  std::vector<Policy> all;
  for (const DeviceFill fill :
       {DeviceFill::whole_units, DeviceFill::weights_first, DeviceFill::states_first})
    all.push_back({.more_slots = true, .fill = fill});
  all.push_back({.more_slots = false});
  return all;
}

// What does not fit, if nothing does.
struct Smallest {
  std::uint64_t host = UINT64_MAX, device = UINT64_MAX;
};

}  // namespace

Result<Plan> make_plan(const PlanInput& input) {
  Smallest smallest;
  std::uint64_t gradients = 0;
  // Small chunks and few slots leave memory for placement, large ones make long transfers that
  // overlap better: the predicted time decides, and of equals the first, which has the larger
  // chunks.
  const std::uint64_t largest = std::max(smallest_chunk, round_down(input.chunk_elements, 4096));
  std::optional<Plan> best;
  for (std::uint64_t chunk = largest;;
       chunk = std::max(smallest_chunk, round_up(chunk / 2, 4096))) {
    for (const Policy& policy : policies(input)) {
      // Once nothing is on nvme, no chunk and no slot makes it better.
      const bool settled = best && !best->steady.has_transfers() && !input.on_cuda();
      Planner planner(input, chunk);
      gradients = planner.waiting_gradients();
      const Placed placed = planner.place(policy);
      smallest.host = std::min(smallest.host, placed.smallest_host);
      smallest.device = std::min(smallest.device, placed.smallest_device);
      if (!placed.fits || settled) break;
      Plan plan = planner.finish();
      if (!best || plan.prediction.seconds < best->prediction.seconds * 0.999)
        best = std::move(plan);
    }
    if (chunk <= smallest_chunk) break;
  }
  if (!best && input.on_cuda() && input.device_memory && smallest.device > *input.device_memory)
    return fail(device_too_small(input, smallest.device));
  if (!best) return fail(host_too_small(input, smallest.host, gradients));
  best->smallest_host_memory = smallest.host;
  best->smallest_device_memory = input.on_cuda() ? smallest.device : 0;
  return std::move(*best);
}

}  // namespace fathom::engine
