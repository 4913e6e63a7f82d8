// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/buffers.hpp"

#include "base/units.hpp"
#include "engine/plan/carry_layout.hpp"

namespace fathom::engine {
namespace {

using swap::ChunkId;
using Slot = Memory::Slot;

class BufferLayout {
 public:
  BufferLayout(Plan& plan, const Memory& memory)
      : plan_(plan), memory_(memory), input_(plan.input) {}

  Rings run() {
    const bool cuda = input_.on_cuda(), train = input_.mode == Mode::train;
    repeat(rings_.landing, BufferKind::landing, memory_.slots.landing, Slot::landing,
           cuda ? Tier::device : Tier::host);
    repeat(rings_.ring, BufferKind::ring, memory_.slots.ring, Slot::ring, Tier::host);
    if (cuda)
      repeat(rings_.staging, BufferKind::staging, memory_.slots.staging, Slot::staging, Tier::host);
    if (input_.widen && !cuda) widened();
    pinned();
    if (!train) return std::move(rings_);
    plan_.input_stride = memory_.input_bytes();
    if (cuda) {
      cuda_block_inputs();
      cuda_gradients();
    } else {
      cpu_block_inputs();
      cpu_gradients();
    }
    return std::move(rings_);
  }

 private:
  std::uint32_t units() const { return static_cast<std::uint32_t>(plan_.units.size()); }
  bool tied() const { return input_.model.tied_head; }

  BufferId add(BufferKind kind, std::uint32_t unit, std::uint64_t bytes, Tier tier = Tier::host) {
    std::uint64_t& end = tier == Tier::device ? plan_.device_arena_bytes : plan_.arena_bytes;
    plan_.buffers.push_back({kind, unit, end, round_up(bytes, io_alignment), tier});
    end += round_up(bytes, io_alignment);
    return static_cast<BufferId>(plan_.buffers.size() - 1);
  }

  void repeat(std::vector<BufferId>& ring, BufferKind kind, std::uint32_t count, Slot slot,
              Tier tier) {
    const std::uint64_t bytes = memory_.largest(slot);
    for (std::uint32_t i = 0; bytes != 0 && i < count; ++i)
      ring.push_back(add(kind, 0, bytes, tier));
  }

  void widened() {
    rings_.widened.push_back(
        add(BufferKind::widened, 0, memory_.largest_elements(false) * sizeof(float)));
    if (tied())
      rings_.widened.push_back(
          add(BufferKind::widened, units() - 1, plan_.units.back().flat.elements * sizeof(float)));
  }

  void pinned() {
    for (std::uint32_t u = 0; u < units(); ++u)
      if (const Tier tier = plan_.units[u].weights(); tier != Tier::nvme)
        plan_.units[u].pinned_weights =
            add(BufferKind::pinned_weights, u, memory_.weight_bytes(u), tier);
    for (ChunkId c = 0; c < plan_.chunks.size(); ++c)
      if (const std::uint64_t bytes = memory_.pinned_states_bytes(c); bytes != 0)
        plan_.chunks[c].pinned_states =
            add(BufferKind::pinned_states, plan_.layout.chunk(c).unit, bytes,
                plan_.chunks[c].states_on_device ? Tier::device : Tier::host);
  }

  void cpu_block_inputs() {
    for (std::uint32_t u = 1; u < units(); ++u)
      for (std::uint64_t i = 0; i < input_.accumulation; ++i)
        plan_.units[u].inputs.push_back(
            add(BufferKind::block_input, u, carry_bytes(input_, u - 1)));
  }

  void cuda_block_inputs() {
    for (std::uint32_t u = 1; u < units(); ++u)
      if (const Tier tier = plan_.units[u].inputs_tier; tier != Tier::nvme)
        plan_.units[u].resting_inputs =
            add(BufferKind::block_input, u, memory_.all_input_bytes(), tier);
    repeat(rings_.carries, BufferKind::carry, carry_slots, Slot::carry, Tier::device);
    repeat(rings_.host_carries, BufferKind::carry, nvme_carry_slots, Slot::host_carry, Tier::host);
  }

  void cpu_gradients() {
    BufferId eager = no_buffer, shared = no_buffer;
    const std::uint64_t largest = memory_.largest_elements(true);
    if (largest != 0)
      eager = add(BufferKind::gradient, 0, largest / input_.partitions() * input_.gradient_bytes);
    if (!memory_.gradient_is_accumulator())
      shared =
          add(BufferKind::accumulator, 0, memory_.shared_accumulator_elements() * sizeof(float));
    if (memory_.narrows_for_network())
      add(BufferKind::network, 0, memory_.largest_elements(false) * input_.reduce_bytes());
    for (std::uint32_t u = 0; u < units(); ++u) {
      UnitPlan& up = plan_.units[u];
      up.gradient = up.lazy ? add(BufferKind::gradient, u, memory_.gradient_bytes(u)) : eager;
      if (memory_.gradient_is_accumulator())
        up.accumulator = up.gradient;
      else if (tied() && u == 0)
        up.accumulator = add(BufferKind::accumulator, 0, up.flat.elements * sizeof(float));
      else
        up.accumulator = shared;
    }
  }

  void cuda_gradients() {
    const std::uint32_t shared = memory_.gradient_is_accumulator() ? fp32_accumulators : 1;
    for (std::uint32_t i = 0; i < shared; ++i)
      rings_.accumulators.push_back(add(BufferKind::accumulator, 0,
                                        memory_.shared_accumulator_elements() * sizeof(float),
                                        Tier::device));
    if (tied())
      plan_.units[0].accumulator = add(BufferKind::accumulator, 0,
                                       plan_.units[0].flat.elements * sizeof(float), Tier::device);
    repeat(rings_.device_gradients, BufferKind::gradient, gradient_slots, Slot::device_gradient,
           Tier::device);
    repeat(rings_.host_gradients, BufferKind::gradient, gradient_slots, Slot::host_gradient,
           Tier::host);
    for (std::uint32_t u = 0; u < units(); ++u) {
      UnitPlan& up = plan_.units[u];
      if (!up.lazy) continue;
      if (memory_.updates_on(u, Tier::host))
        up.gradient = add(BufferKind::gradient, u, memory_.gradient_bytes(u));
      if (memory_.has_device_gradient(u))
        up.device_gradient = add(BufferKind::gradient, u, memory_.gradient_bytes(u), Tier::device);
    }
  }

  Plan& plan_;
  const Memory& memory_;
  const PlanInput& input_;
  Rings rings_;
};

}  // namespace

Rings lay_out_buffers(Plan& plan, const Memory& memory) { return BufferLayout(plan, memory).run(); }

}  // namespace fathom::engine
