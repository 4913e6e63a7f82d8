// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/memory.hpp"

#include <algorithm>

#include "base/units.hpp"
#include "engine/plan/carry_layout.hpp"

namespace fathom::engine {

using swap::ChunkId;

Memory::Memory(Plan& plan) : plan_(plan), input_(plan.input) {
  for (std::uint32_t u = 1; u < units(); ++u)
    input_bytes_ = std::max(input_bytes_, carry_bytes(input_, u - 1));
  for (std::uint32_t u = 0; u < units(); ++u) activation_ = std::max(activation_, activation(u));
  // Inference carries activations from unit to unit in LibTorch's memory.
  if (!train()) activation_ += input_.accumulation * live_carry_bytes(input_);

  const auto states = static_cast<swap::SectionMask>(swap::states_mask & input_.sections.present());
  for (std::uint32_t u = 0; u < units(); ++u) {
    std::uint64_t& weights = weight_bytes_.emplace_back(0);
    for (ChunkId c = plan_.layout.first_chunk(u); c < plan_.layout.end_chunk(u); ++c) {
      chunk_weights_.push_back(plan_.layout.padded_bytes(c, swap::Section::W));
      chunk_states_.push_back(plan_.layout.padded_bytes(c, states));
      weights += chunk_weights_.back();
    }
    if (!input_.partitions_weights()) weights *= input_.partitions();
  }

  host_base_ = input_.fixed_bytes;
  if (input_.on_cuda()) {
    device_base_ = input_.device_fixed_bytes + activation_ + (train() ? cuda_accumulators() : 0);
  } else {
    host_base_ += activation_;
    if (train()) {
      for (std::uint32_t u = 1; u < units(); ++u)
        host_base_ += input_.accumulation * carry_bytes(input_, u - 1);
      host_base_ += cpu_gradients();
    }
    if (input_.widen) {
      host_base_ += round_up(largest_elements(false) * 4, io_alignment);
      if (input_.model.tied_head)
        host_base_ += round_up(plan_.units.back().flat.elements * 4, io_alignment);
    }
  }
  for (std::uint32_t u = 0; u < units(); ++u) {
    needs_.push_back(of_unit(u));
    count(needs_.back(), true);
  }
}

std::uint64_t Memory::activation(std::uint32_t unit) const {
  const auto bytes = models::activation_bytes(input_.model, unit, input_.micro_batch,
                                              {input_.length, input_.target_length},
                                              input_.compute_bytes(), input_.threads);
  return train() ? std::max(bytes.forward, bytes.backward) : bytes.forward;
}

std::uint64_t Memory::pinned_states_bytes(ChunkId chunk) const {
  return plan_.chunks[chunk].streamed == 0 ? chunk_states_[chunk] : 0;
}

std::uint64_t Memory::gradient_bytes(std::uint32_t unit) const {
  return round_up(plan_.units[unit].partition_elements * input_.gradient_bytes, io_alignment);
}

std::uint64_t Memory::landed_bytes(std::uint32_t unit) const {
  return weight_bytes_[unit] * (input_.partitions_weights() ? input_.partitions() : 1);
}

std::uint64_t Memory::input_bytes() const { return input_bytes_; }
std::uint64_t Memory::all_input_bytes() const { return input_.accumulation * input_bytes_; }

std::uint64_t Memory::largest_elements(bool eager_only) const {
  std::uint64_t largest = 0;
  for (const UnitPlan& up : plan_.units)
    if (!eager_only || !up.lazy) largest = std::max(largest, up.flat.elements);
  return largest;
}

// A tied embedding sums over the whole backward pass, so it has an accumulator of its own.
std::uint64_t Memory::shared_accumulator_elements() const {
  std::uint64_t largest = 0;
  for (std::uint32_t u = input_.model.tied_head ? 1 : 0; u < units(); ++u)
    largest = std::max(largest, plan_.units[u].flat.elements);
  return largest;
}

std::uint64_t Memory::cpu_gradients() const {
  std::uint64_t sum = 0;
  for (std::uint32_t u = 0; u < units(); ++u)
    if (plan_.units[u].lazy) sum += gradient_bytes(u);
  const std::uint64_t eager = largest_elements(true);
  // fp32 gradients at rest are the accumulators themselves.
  if (gradient_is_accumulator()) return sum + round_up(eager * 4, io_alignment);
  sum += round_up(eager / input_.partitions() * input_.gradient_bytes, io_alignment);
  if (narrows_for_network())
    sum += round_up(largest_elements(false) * input_.reduce_bytes(), io_alignment);
  sum += round_up(shared_accumulator_elements() * 4, io_alignment);
  if (input_.model.tied_head) sum += round_up(plan_.units[0].flat.elements * 4, io_alignment);
  return sum;
}

std::uint64_t Memory::cuda_accumulators() const {
  const std::uint32_t shared = gradient_is_accumulator() ? fp32_accumulators : 1;
  std::uint64_t sum = shared * round_up(shared_accumulator_elements() * 4, io_alignment);
  if (input_.model.tied_head) sum += round_up(plan_.units[0].flat.elements * 4, io_alignment);
  return sum;
}

bool Memory::updates_on(std::uint32_t unit, Tier tier) const {
  for (ChunkId c = plan_.layout.first_chunk(unit); c < plan_.layout.end_chunk(unit); ++c)
    if (plan_.chunks[c].states_on_device == (tier == Tier::device)) return true;
  return false;
}

bool Memory::has_device_gradient(std::uint32_t unit) const {
  return plan_.units[unit].lazy && updates_on(unit, Tier::device);
}

Memory::Need Memory::of_unit(std::uint32_t unit) const {
  Need need;
  const auto slot = [&](Slot kind) -> std::uint64_t& {
    return need.slot[static_cast<std::size_t>(kind)];
  };
  const UnitPlan& up = plan_.units[unit];
  const Tier lives = up.weights();
  if (lives == Tier::host) need.host += weight_bytes(unit);
  if (lives == Tier::device) need.device += weight_bytes(unit);
  const bool lands =
      input_.on_cuda() ? lives != Tier::device : lives == Tier::nvme || input_.partitions_weights();
  if (lands) slot(Slot::landing) = landed_bytes(unit);
  for (ChunkId c = plan_.layout.first_chunk(unit); c < plan_.layout.end_chunk(unit); ++c) {
    const ChunkPlan& chunk = plan_.chunks[c];
    if (chunk.streamed != 0)
      slot(Slot::ring) = std::max(slot(Slot::ring), chunk_states_[c]);
    else
      (chunk.states_on_device ? need.device : need.host) += chunk_states_[c];
    const bool staged =
        lives == Tier::nvme || (train() && lives == Tier::device && !chunk.states_on_device);
    if (input_.on_cuda() && staged)
      slot(Slot::staging) = std::max(slot(Slot::staging), chunk_weights_[c]);
  }
  if (!input_.on_cuda() || !train()) return need;
  if (updates_on(unit, Tier::host)) {
    if (up.lazy)
      need.host += gradient_bytes(unit);
    else
      slot(Slot::host_gradient) = gradient_bytes(unit);
  }
  if (has_device_gradient(unit))
    need.device += gradient_bytes(unit);
  else if (!gradient_is_accumulator())
    slot(Slot::device_gradient) = gradient_bytes(unit);
  if (unit == 0) return need;
  if (up.inputs_tier == Tier::device) need.device += all_input_bytes();
  if (up.inputs_tier == Tier::host) need.host += all_input_bytes();
  if (up.inputs_tier != Tier::device) slot(Slot::carry) = all_input_bytes();
  if (up.inputs_tier == Tier::nvme) slot(Slot::host_carry) = all_input_bytes();
  return need;
}

void Memory::count(const Need& need, bool add) {
  host_sum_ = add ? host_sum_ + need.host : host_sum_ - need.host;
  device_sum_ = add ? device_sum_ + need.device : device_sum_ - need.device;
  for (std::size_t i = 0; i < slot_kinds; ++i) {
    if (need.slot[i] == 0) continue;
    if (add)
      ++sizes_[i][need.slot[i]];
    else if (const auto at = sizes_[i].find(need.slot[i]); --at->second == 0)
      sizes_[i].erase(at);
  }
}

void Memory::refresh(std::uint32_t unit) {
  count(needs_[unit], false);
  needs_[unit] = of_unit(unit);
  count(needs_[unit], true);
}

void Memory::refresh_all() {
  for (std::uint32_t u = 0; u < units(); ++u) refresh(u);
}

void Memory::place_weights(std::uint32_t unit, Tier tier) {
  plan_.units[unit].weights_on_nvme = tier == Tier::nvme;
  plan_.units[unit].weights_on_device = tier == Tier::device && input_.on_cuda();
  refresh(unit);
}

void Memory::place_states(std::span<const ChunkId> chunks,
                          const std::function<Tier(std::size_t)>& tier_of) {
  const auto states = static_cast<swap::SectionMask>(swap::states_mask & input_.sections.present());
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    ChunkPlan& chunk = plan_.chunks[chunks[i]];
    const Tier tier = tier_of(i);
    chunk.streamed = tier == Tier::nvme ? states : swap::SectionMask{0};
    chunk.states_on_device = tier == Tier::device && input_.on_cuda();
  }
  if (!chunks.empty()) refresh(plan_.layout.chunk(chunks.front()).unit);
}

void Memory::place_inputs(std::uint32_t unit, Tier tier) {
  plan_.units[unit].inputs_tier = tier;
  refresh(unit);
}

std::uint64_t Memory::largest(Slot slot) const {
  const auto& sizes = sizes_[static_cast<std::size_t>(slot)];
  return sizes.empty() ? 0 : sizes.rbegin()->first;
}

std::uint64_t Memory::host() const {
  std::uint64_t sum = host_base_ + host_sum_ + slots.ring * largest(Slot::ring);
  if (input_.on_cuda())
    sum += slots.staging * largest(Slot::staging) + gradient_slots * largest(Slot::host_gradient) +
           nvme_carry_slots * largest(Slot::host_carry);
  else
    sum += slots.landing * largest(Slot::landing);
  return round_up(sum, 64 * KiB);
}

std::uint64_t Memory::device() const {
  if (!input_.on_cuda()) return 0;
  return round_up(device_base_ + device_sum_ + slots.landing * largest(Slot::landing) +
                      gradient_slots * largest(Slot::device_gradient) +
                      carry_slots * largest(Slot::carry),
                  64 * KiB);
}

bool Memory::fits_host() const { return !input_.host_memory || host() <= *input_.host_memory; }
bool Memory::fits_device() const {
  return !input_.on_cuda() || !input_.device_memory || device() <= *input_.device_memory;
}

}  // namespace fathom::engine
