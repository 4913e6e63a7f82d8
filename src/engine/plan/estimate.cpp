// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/estimate.hpp"

#include <algorithm>

namespace fathom::engine {
namespace {

using swap::ChunkId;

// How often a steady pass brings a unit's W to where it computes.
double landings(const Plan& plan, std::uint32_t unit, bool updates_at_landing) {
  const bool train = plan.input.mode == Mode::train;
  const bool head = unit + 1 == plan.units.size(), tied = plan.input.model.tied_head;
  if (!train) return unit == 0 && tied ? 2 : 1;
  if (unit != 0) return head ? 1 : 2;
  // An embedding's backward needs its W for an eager update only.
  return 1 + (tied ? 1 : 0) + (updates_at_landing ? 1 : 0);
}

void add_unit(const Plan& plan, std::uint32_t unit, Traffic& sum) {
  const PlanInput& input = plan.input;
  const UnitPlan& up = plan.units[unit];
  const bool cuda = input.on_cuda(), train = input.mode == Mode::train;
  const Tier lives = up.weights();
  for (ChunkId c = plan.layout.first_chunk(unit); c < plan.layout.end_chunk(unit); ++c) {
    const auto elements = static_cast<double>(plan.layout.chunk(c).elements);
    const double w = elements * static_cast<double>(input.sections.of(swap::Section::W));
    const bool by_device = train && plan.chunks[c].states_on_device;
    const bool by_cpu = train && !by_device, eager = !up.lazy;
    const double reads = landings(plan, unit, train && eager);
    if (lives == Tier::nvme) sum.nvme_read += reads * w;
    if (lives == Tier::nvme && train) sum.nvme_write += w;
    const double states =
        elements * static_cast<double>(input.sections.of(plan.chunks[c].streamed));
    if (train) sum.nvme_read += states;
    if (train) sum.nvme_write += states;
    (by_device ? sum.device_updates : sum.cpu_updates) += train ? elements : 0;
    if (!cuda) continue;
    if (lives != Tier::device) sum.h2d += landings(plan, unit, eager && by_device) * w;
    if (lives == Tier::device && by_cpu) sum.h2d += w, sum.d2h += w;
    // What backward landed comes down again to be updated.
    if (lives == Tier::nvme && by_cpu && eager && unit != 0) sum.d2h += w;
    if (lives != Tier::device && by_device) sum.d2h += w;
    if (by_cpu) sum.d2h += elements * static_cast<double>(input.gradient_bytes);
  }
}

double streamed_bytes(const Plan& plan) {
  double sum = 0;
  for (ChunkId c = 0; c < plan.chunks.size(); ++c)
    sum += static_cast<double>(plan.layout.padded_bytes(c, plan.chunks[c].streamed));
  return sum;
}

double states_seconds(const Plan& plan) {
  const Rates& r = plan.input.rates;
  const double bytes = streamed_bytes(plan), reading = bytes / r.read, writing = bytes / r.write;
  return std::max({reading, writing, (reading + writing) / (1 + r.duplex)});
}

}  // namespace

Traffic traffic_of(const Plan& plan) {
  Traffic sum;
  const PlanInput& input = plan.input;
  const bool train = input.mode == Mode::train;
  const auto batches = static_cast<double>(input.micro_batch * input.accumulation);
  for (std::uint32_t u = 0; u < plan.units.size(); ++u) {
    add_unit(plan, u, sum);
    const double passes = !train ? 2 : u + 1 == plan.units.size() ? 6 : 8;
    sum.flops += passes * batches *
                 models::unit_products(input.model.units[u], {input.length, input.target_length});
  }
  if (!input.on_cuda() || !train) return sum;
  const auto inputs = static_cast<double>(input.accumulation * input.micro_batch * input.length *
                                          input.model.hidden * input.compute_bytes());
  for (std::uint32_t u = 1; u < plan.units.size(); ++u) {
    if (plan.units[u].inputs_tier != Tier::device) sum.h2d += inputs, sum.d2h += inputs;
    if (plan.units[u].inputs_tier == Tier::nvme) sum.nvme_read += inputs, sum.nvme_write += inputs;
  }
  return sum;
}

double estimate_seconds(const Plan& plan, const Memory& memory) {
  const Traffic t = traffic_of(plan);
  const Rates& r = plan.input.rates;
  const bool cuda = plan.input.on_cuda();
  const double compute = t.flops / r.flops;
  const double cpu_update = t.cpu_updates / r.update;
  const double device = compute + t.device_updates / r.device_update;
  const double reading = t.nvme_read / r.read, writing = t.nvme_write / r.write;
  const double nvme = std::max({reading, writing, (reading + writing) / (1 + r.duplex)});
  double longest = std::max(nvme, cuda ? cpu_update : compute + cpu_update);
  if (cuda) longest = std::max({longest, device, t.h2d / r.h2d, t.d2h / r.d2h});
  // With clipping updates meet the forward pass only, without it the backward pass only.
  if (plan.input.mode == Mode::train) {
    const double updates = cpu_update + (cuda ? t.device_updates / r.device_update : 0);
    const double meets = compute * (plan.input.lazy ? 0.25 : 0.75);
    const double states = states_seconds(plan);
    const double phase = std::max({states, updates, cuda ? meets : meets + updates});
    longest = std::max(longest, compute - meets + phase);
  }
  // Whatever passes through a ring of k slots holds one from its read to its write.
  const auto slot = static_cast<double>(memory.largest(Memory::Slot::ring));
  const double share = (1 + r.duplex) / 2;
  const double one = (slot / r.read + slot / r.write) / share + 2 * r.latency;
  if (slot > 0) longest = std::max(longest, streamed_bytes(plan) / slot * one / memory.slots.ring);
  const auto landing = static_cast<double>(memory.largest(Memory::Slot::landing));
  const double landed = landing / (cuda ? r.h2d : r.read);
  return longest + one + landed;
}

}  // namespace fathom::engine
