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
// Of a whole model: finer chunks are tried only while nothing else fits, and never beyond the most,
// since they cost planning more than they save.
constexpr std::uint64_t many_chunks = 2048, most_chunks = 16384;
// Of the estimated candidates these are predicted: at least so many, and more while the operations
// of their programs are not more than planning has time for.
constexpr std::size_t least_predicted = 3, most_operations = 50000;

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

// Which orders of filling are worth comparing; one that leaves device memory free can be faster,
// since W that rests on the device comes down to be updated by the CPU.
std::vector<Policy> policies(const PlanInput& input) {
  std::vector<Policy> all;
  for (const bool more_slots : {true, false}) {
    all.push_back({.more_slots = more_slots});
    if (!input.on_cuda() || input.mode == Mode::inference) continue;
    all.push_back({.more_slots = more_slots, .fill = DeviceFill::states_first});
    for (const double share : {1.0, 0.5, 0.25})
      all.push_back({.more_slots = more_slots, .fill = DeviceFill::weights_first, .share = share});
  }
  return all;
}

// Chunk sizes from the largest on, halved; a size above every unit's is as good as theirs.
std::vector<std::uint64_t> chunk_sizes(const PlanInput& input) {
  std::uint64_t all = 0, unit = 0;
  for (const models::UnitSpec& spec : input.model.units) {
    const std::uint64_t elements = flatten(spec, input.partitions()).elements / input.partitions();
    all += elements;
    unit = std::max(unit, elements);
  }
  const std::uint64_t least = std::max(smallest_chunk, round_up(all / most_chunks, 4096));
  std::uint64_t chunk = std::max(least, round_down(input.chunk_elements, 4096));
  while (chunk / 2 >= unit && chunk / 2 >= least) chunk = round_up(chunk / 2, 4096);
  std::vector<std::uint64_t> sizes;
  for (;; chunk = std::max(least, round_up(chunk / 2, 4096))) {
    sizes.push_back(chunk);
    if (chunk <= least) return sizes;
  }
}

struct Candidate {
  double estimate = 0;
  std::uint64_t chunk = 0;
  Policy policy;
};

}  // namespace

// Small chunks and few slots leave memory for placement, large ones make long transfers that
// overlap better. All are estimated, the most promising predicted, and the best prediction wins; of
// equals the first, which has the larger chunks.
Result<Plan> make_plan(const PlanInput& input, bool fixed_chunks) {
  std::uint64_t smallest_host = UINT64_MAX, smallest_device = UINT64_MAX, gradients = 0;
  std::vector<Candidate> candidates;
  bool settled = false;
  const std::vector<std::uint64_t> sizes =
      fixed_chunks ? std::vector{input.chunk_elements} : chunk_sizes(input);
  for (const std::uint64_t chunk : sizes) {
    Planner planner(input, chunk);
    gradients = planner.waiting_gradients();
    settled = settled || (!candidates.empty() && planner.chunks() > many_chunks);
    for (const Policy& policy :
         settled ? std::vector<Policy>{{.more_slots = false}} : policies(input)) {
      const Placed placed = planner.place(policy);
      smallest_host = std::min(smallest_host, placed.smallest_host);
      smallest_device = std::min(smallest_device, placed.smallest_device);
      if (!placed.fits || settled) break;
      const double estimate = planner.estimate();
      const auto worse = [&](const Candidate& c) { return c.estimate > estimate * (1 + 1e-9); };
      candidates.insert(std::find_if(candidates.begin(), candidates.end(), worse),
                        {estimate, chunk, policy});
      if (planner.everything_in_place()) break;
    }
    // Where nothing moves no chunk size makes it better; smaller ones fit smaller budgets.
    settled = settled || (!candidates.empty() && planner.everything_in_place());
  }
  if (candidates.empty()) {
    const bool device = input.on_cuda() && input.device_memory;
    if (device && smallest_device > *input.device_memory)
      return fail(device_too_small(input, smallest_device));
    return fail(host_too_small(input, smallest_host, gradients));
  }
  std::optional<Planner> best;
  std::size_t operations = 0, predicted = 0;
  for (const Candidate& candidate : candidates) {
    if (predicted++ >= least_predicted && operations > most_operations) break;
    Planner planner(input, candidate.chunk);
    planner.place(candidate.policy);
    planner.predict();
    operations += planner.operations();
    if (!best || planner.prediction().seconds < best->prediction().seconds * 0.999)
      best = std::move(planner);
  }
  Plan plan = best->finish();
  plan.smallest_host_memory = smallest_host;
  plan.smallest_device_memory = input.on_cuda() ? smallest_device : 0;
  return plan;
}

}  // namespace fathom::engine
