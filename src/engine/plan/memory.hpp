// SPDX-License-Identifier: Apache-2.0
//
// Memory: how much of each tier a placement needs. Internal to the plan.
//
// Purpose      Memory is a function of placement and slot counts. Placement tries thousands of
//              moves, so each costs what its unit costs: a unit's own bytes are summed, what it
//              needs of the shared slots is kept as a largest.
// Ownership    Borrows the plan in the making and edits where its units and chunks lie.
// Threads      Pure.
// Units        Bytes.
//
//   Memory memory(plan);
//   memory.place_weights(3, Tier::host);
//   if (!memory.fits_host()) memory.place_weights(3, Tier::nvme);
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "engine/plan/plan.hpp"

namespace fathom::engine {

// Slots of each ring. `carry`, `gradient` and `accumulator` exist with cuda only.
struct SlotCounts {
  std::uint32_t landing = 2, ring = 2, staging = 2;
};
inline constexpr std::uint32_t gradient_slots = 2;     // one filled while the other is read
inline constexpr std::uint32_t carry_slots = 3;        // read, written, copied
inline constexpr std::uint32_t nvme_carry_slots = 2;   // copied, transferred
inline constexpr std::uint32_t fp32_accumulators = 2;  // fp32 gradients are their accumulators

class Memory {
 public:
  // Units, chunks and layout of `plan` are there, with everything in the lowest tier allowed.
  explicit Memory(Plan& plan);

  void place_weights(std::uint32_t unit, Tier tier);
  // Chunks of one unit, the i-th to tier_of(i).
  void place_states(std::span<const swap::ChunkId> chunks,
                    const std::function<Tier(std::size_t)>& tier_of);
  void place_inputs(std::uint32_t unit, Tier tier);
  // After the plan's units or chunks were put back by other means.
  void refresh_all();

  std::uint64_t host() const;
  std::uint64_t device() const;
  bool fits_host() const;
  bool fits_device() const;

  SlotCounts slots;

  // Bytes of one slot; 0: nobody needs it.
  enum class Slot : std::uint8_t {
    landing,          // W of a unit, where it computes
    ring,             // streamed states of a chunk
    staging,          // cuda: W of a chunk in pinned host memory
    host_gradient,    // cuda, eager: gradient of a unit that the CPU updates
    device_gradient,  // cuda: gradient of a unit on its way to the host
    carry,            // cuda: block inputs of a unit on the device
    host_carry,       // cuda: the same in host memory, on their way from and to nvme
    count
  };
  std::uint64_t largest(Slot slot) const;

  // Parts that others lay out by the same rule.
  std::uint64_t weight_bytes(std::uint32_t unit) const { return weight_bytes_[unit]; }  // at rest
  std::uint64_t landed_bytes(std::uint32_t unit) const;  // whole, for compute
  bool narrows_for_network() const {
    return input_.world > 1 && !input_.on_cuda() && input_.reduce_bytes() < 4;
  }
  std::uint64_t pinned_states_bytes(swap::ChunkId chunk) const;
  std::uint64_t gradient_bytes(std::uint32_t unit) const;  // at rest
  std::uint64_t input_bytes() const;                       // of one micro-batch, at most
  std::uint64_t all_input_bytes() const;                   // of all of a step
  std::uint64_t largest_elements(bool eager_only) const;
  std::uint64_t shared_accumulator_elements() const;
  std::uint64_t activation_bytes() const { return activation_; }
  bool gradient_is_accumulator() const {
    return input_.gradient_bytes == 4 && input_.partitions() == 1;
  }
  // A lazy unit's gradient rests on the device when a chunk of it is updated there, and in host
  // memory when one is updated by the CPU.
  bool updates_on(std::uint32_t unit, Tier tier) const;
  bool has_device_gradient(std::uint32_t unit) const;

 private:
  static constexpr std::size_t slot_kinds = static_cast<std::size_t>(Slot::count);
  struct Need {
    std::uint64_t host = 0, device = 0;
    std::array<std::uint64_t, slot_kinds> slot{};
  };

  bool train() const { return input_.mode == Mode::train; }
  std::uint32_t units() const { return static_cast<std::uint32_t>(plan_.units.size()); }
  Need of_unit(std::uint32_t unit) const;
  void refresh(std::uint32_t unit);
  void count(const Need& need, bool add);
  std::uint64_t activation(std::uint32_t unit) const;
  std::uint64_t cpu_gradients() const;
  std::uint64_t cuda_accumulators() const;

  Plan& plan_;
  const PlanInput& input_;
  std::uint64_t activation_ = 0, input_bytes_ = 0, host_base_ = 0, device_base_ = 0;
  std::vector<std::uint64_t> weight_bytes_;                  // of units, padded
  std::vector<std::uint64_t> chunk_weights_, chunk_states_;  // of chunks, padded
  std::vector<Need> needs_;
  std::uint64_t host_sum_ = 0, device_sum_ = 0;
  std::array<std::map<std::uint64_t, std::uint32_t>, slot_kinds> sizes_;  // bytes → units
};

}  // namespace fathom::engine
