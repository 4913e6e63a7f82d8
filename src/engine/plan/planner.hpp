// SPDX-License-Identifier: Apache-2.0
//
// Planner: one candidate of make_plan: a chunk size and its placement, buffers and programs.
//
// Purpose      Memory is a function of placement; placement is filled up to the budget by value per
//              byte. Internal to the plan; make_plan.cpp chooses among candidates.
// Ownership    Borrows the input; finish() gives the plan away.
// Threads      Pure.
// Units        Bytes, elements.
//
//   Planner planner(input, chunk_elements);
//   if (planner.place(true)) Plan plan = planner.finish();
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "base/units.hpp"
#include "engine/plan/carry_layout.hpp"
#include "engine/plan/plan.hpp"
#include "engine/plan/program_builder.hpp"
#include "engine/plan/simulator.hpp"

namespace fathom::engine {

inline constexpr std::uint64_t smallest_chunk = 256 * KiB;    // elements
inline constexpr std::uint64_t slot_bytes_wanted = 32 * MiB;  // in flight beyond the slot in use

// A plan in the making: placement first, then memory as a function of it.
class Planner {
 public:
  Planner(const PlanInput& input, std::uint64_t chunk_elements) : input_(input) {
    plan_.input = input;
    plan_.input.chunk_elements = chunk_elements;
    for (const models::UnitSpec& unit : input.model.units) {
      UnitPlan up;
      up.flat = flatten(unit, input.world);
      up.weights_on_nvme = input.weights_lowest == Tier::nvme;
      plan_.units.push_back(std::move(up));
    }
    const bool train = input.mode == Mode::train;
    for (std::size_t u = 0; train && u < plan_.units.size(); ++u)
      // A tied embedding collects gradients from both ends of the pass; updating it at the next
      // forward saves a third read of its W.
      plan_.units[u].lazy = input.lazy || (u == 0 && input.model.tied_head);
    build_layout();
    pin_small_weights();
    for (std::uint32_t u = 0; u < plan_.units.size(); ++u)
      activation_ = std::max(activation_, activation(u));
    // Inference carries activations from unit to unit in LibTorch's memory.
    if (input.mode == Mode::inference) activation_ += input.accumulation * live_carry_bytes(input);
  }

  // Decides slots and placement for the budget; false when even the smallest does not fit.
  bool place(bool more_slots) {
    slots_ = {.landing = std::max(2U, input_.landing_slots),
              .ring = std::max(2U, input_.ring_slots)};
    smallest_ = total();
    if (input_.host_memory && smallest_ > *input_.host_memory) return false;
    if (more_slots) choose_slots();
    if (input_.mode == Mode::inference || everything_in_host()) {
      if (input_.mode == Mode::inference) pin_weights();
      return true;
    }
    if (!all_weights_in_host()) pin_weights();
    pin_states();
    return true;
  }

  std::uint64_t smallest() const { return smallest_; }
  std::uint64_t waiting_gradients() const {
    std::uint64_t sum = 0;
    for (const UnitPlan& up : plan_.units)
      if (up.lazy) sum += up.flat.elements * input_.gradient_bytes;
    return sum;
  }

  Plan finish() {
    rebuild_layout();
    lay_out_buffers();
    plan_.activation_bytes = activation_;
    plan_.landing_slots = static_cast<std::uint32_t>(landing_.size());
    plan_.ring_slots = static_cast<std::uint32_t>(ring_.size());
    plan_.smallest_host_memory = smallest_;
    ProgramBuilder builder(plan_, landing_, ring_, widened_);
    if (input_.mode == Mode::inference) {
      plan_.steady = builder.inference(false);
      if (input_.model.encoder_decoder) plan_.decode = builder.inference(true);
    } else {
      plan_.steady = builder.training(true);
      plan_.first = builder.training(false);
      plan_.flush = builder.flush();
    }
    predict();
    return std::move(plan_);
  }

 private:
  struct Slots {
    std::uint32_t landing = 2, ring = 2;
  };

  std::uint32_t unit_count() const { return static_cast<std::uint32_t>(plan_.units.size()); }

  std::uint64_t activation(std::uint32_t unit) const {
    const auto bytes = models::activation_bytes(input_.model, unit, input_.micro_batch,
                                                {input_.length, input_.target_length},
                                                input_.compute_bytes(), input_.threads);
    return input_.mode == Mode::train ? std::max(bytes.forward, bytes.backward) : bytes.forward;
  }

  // Chunks exist before placement; what each stores follows from it.
  void build_layout() {
    swap::LayoutInput layout;
    for (const UnitPlan& up : plan_.units) layout.unit_elements.push_back(up.flat.elements);
    layout.chunk_elements = plan_.input.chunk_elements;
    layout.sections = input_.sections;
    layout.path_weights = input_.path_weights;
    plan_.layout = swap::Layout::build(layout);
    plan_.chunks.resize(plan_.layout.chunks().size());
    const auto states =
        static_cast<swap::SectionMask>(swap::states_mask & input_.sections.present());
    for (ChunkPlan& chunk : plan_.chunks)
      chunk.streamed = input_.states_lowest == Tier::nvme ? states : swap::SectionMask{0};
  }

  void rebuild_layout() {
    swap::LayoutInput layout;
    for (const UnitPlan& up : plan_.units) layout.unit_elements.push_back(up.flat.elements);
    layout.chunk_elements = plan_.input.chunk_elements;
    layout.sections = input_.sections;
    layout.path_weights = input_.path_weights;
    layout.stored = [this](std::uint32_t unit, std::uint32_t index) {
      const ChunkPlan& chunk = plan_.chunks[plan_.layout.first_chunk(unit) + index];
      return static_cast<swap::SectionMask>(
          chunk.streamed | (plan_.units[unit].weights_on_nvme ? swap::weights_mask : 0));
    };
    plan_.layout = swap::Layout::build(layout);
  }

  std::uint64_t weight_bytes(std::uint32_t unit) const {
    std::uint64_t sum = 0;
    for (swap::ChunkId c = plan_.layout.first_chunk(unit); c < plan_.layout.end_chunk(unit); ++c)
      sum += plan_.layout.padded_bytes(c, swap::Section::W);
    return sum;
  }
  std::uint64_t largest_weights() const {
    std::uint64_t largest = 0;
    for (std::uint32_t u = 0; u < unit_count(); ++u)
      if (plan_.units[u].weights_on_nvme) largest = std::max(largest, weight_bytes(u));
    return largest;
  }
  std::uint64_t largest_states() const {
    std::uint64_t largest = 0;
    for (swap::ChunkId c = 0; c < plan_.chunks.size(); ++c)
      largest = std::max(largest, plan_.layout.padded_bytes(c, plan_.chunks[c].streamed));
    return largest;
  }
  std::uint64_t pinned_states_bytes(swap::ChunkId c) const {
    const auto states =
        static_cast<swap::SectionMask>(swap::states_mask & input_.sections.present());
    return plan_.layout.padded_bytes(
        c, static_cast<swap::SectionMask>(states & ~plan_.chunks[c].streamed));
  }
  // Block inputs of one micro-batch.
  std::uint64_t all_input_bytes() const {
    std::uint64_t sum = 0;
    for (std::uint32_t u = 1; u < unit_count(); ++u) sum += carry_bytes(input_, u - 1);
    return sum;
  }
  std::uint64_t largest_elements(bool eager_only) const {
    std::uint64_t largest = 0;
    for (const UnitPlan& up : plan_.units)
      if (!eager_only || !up.lazy) largest = std::max(largest, up.flat.elements);
    return largest;
  }
  // fp32 gradients at rest are the accumulators themselves.
  bool gradient_is_accumulator() const { return input_.gradient_bytes == 4; }

  std::uint64_t total() const {
    std::uint64_t sum = input_.fixed_bytes + activation_;
    sum += slots_.landing * largest_weights() + slots_.ring * largest_states();
    for (std::uint32_t u = 0; u < unit_count(); ++u)
      if (!plan_.units[u].weights_on_nvme) sum += weight_bytes(u);
    for (swap::ChunkId c = 0; c < plan_.chunks.size(); ++c) sum += pinned_states_bytes(c);
    if (input_.mode == Mode::train) sum += input_.accumulation * all_input_bytes();
    if (input_.widen) {
      sum += round_up(largest_elements(false) * 4, io_alignment);
      if (input_.model.tied_head)
        sum += round_up(plan_.units.back().flat.elements * 4, io_alignment);
    }
    if (input_.mode == Mode::train) sum += gradient_memory();
    return round_up(sum, 64 * KiB);
  }

  std::uint64_t gradient_memory() const {
    std::uint64_t sum = 0;
    for (const UnitPlan& up : plan_.units)
      if (up.lazy) sum += round_up(up.flat.elements * input_.gradient_bytes, io_alignment);
    const std::uint64_t eager = largest_elements(true);
    if (gradient_is_accumulator()) return sum + round_up(eager * 4, io_alignment);
    sum += round_up(eager * input_.gradient_bytes, io_alignment);
    sum += round_up(shared_accumulator_elements() * 4, io_alignment);
    if (input_.model.tied_head) sum += round_up(plan_.units[0].flat.elements * 4, io_alignment);
    return sum;
  }
  // A tied embedding sums over the whole backward pass, so it has an accumulator of its own.
  std::uint64_t shared_accumulator_elements() const {
    std::uint64_t largest = 0;
    for (std::uint32_t u = input_.model.tied_head ? 1 : 0; u < unit_count(); ++u)
      largest = std::max(largest, plan_.units[u].flat.elements);
    return largest;
  }

  bool fits() const { return !input_.host_memory || total() <= *input_.host_memory; }

  // A norm alone is not worth a landing slot.
  void pin_small_weights() {
    const std::uint64_t largest = largest_weights();
    for (std::uint32_t u = 0; u < unit_count(); ++u)
      if (weight_bytes(u) * 64 <= largest) plan_.units[u].weights_on_nvme = false;
  }

  // More slots than two only buy tolerance to jitter: as many as make some tens of MiB of
  // look-ahead, within an eighth of the budget.
  void choose_slots() {
    const auto choose = [&](std::uint32_t& slots, std::uint32_t given, std::uint64_t bytes) {
      if (given != 0 || bytes == 0) return;
      const auto wanted = std::clamp<std::uint64_t>(2 + ceil_div(slot_bytes_wanted, bytes), 3, 8);
      for (std::uint64_t n = 3; n <= wanted; ++n) {
        const std::uint32_t before = std::exchange(slots, static_cast<std::uint32_t>(n));
        const bool modest = !input_.host_memory || n * bytes <= *input_.host_memory / 8 || n == 3;
        if (!fits() || !modest) {
          slots = before;
          break;
        }
      }
    };
    choose(slots_.landing, input_.landing_slots, largest_weights());
    choose(slots_.ring, input_.ring_slots, largest_states());
  }

  bool everything_in_host() {
    const Plan before = plan_;
    for (UnitPlan& up : plan_.units) up.weights_on_nvme = false;
    for (ChunkPlan& chunk : plan_.chunks) chunk.streamed = 0;
    if (fits()) return true;
    plan_ = before;
    return false;
  }

  bool all_weights_in_host() {
    std::vector<bool> before;
    for (UnitPlan& up : plan_.units) before.push_back(std::exchange(up.weights_on_nvme, false));
    if (fits()) return true;
    for (std::size_t u = 0; u < before.size(); ++u) plan_.units[u].weights_on_nvme = before[u];
    return false;
  }

  // Seconds saved per byte and step by holding a unit's W: reads that a pass makes, and the write.
  double weight_value(std::uint32_t unit) const {
    const double read = 1 / input_.rates.read, write = 1 / input_.rates.write;
    if (input_.mode == Mode::inference) return read;
    const bool embedding = unit == 0, head = unit + 1 == unit_count();
    const UnitPlan& up = plan_.units[unit];
    double reads = 2;
    if (head) reads = 1;
    if (embedding) reads = (up.lazy ? 1 : 2) + (input_.model.tied_head ? 1 : 0);
    return reads * read + write;
  }

  void pin_weights() {
    std::vector<std::uint32_t> order(unit_count());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return weight_value(a) > weight_value(b);
    });
    for (const std::uint32_t u : order) {
      if (!plan_.units[u].weights_on_nvme) continue;
      plan_.units[u].weights_on_nvme = false;
      if (!fits()) plan_.units[u].weights_on_nvme = true;
    }
  }

  void pin_states() {
    for (ChunkPlan& chunk : plan_.chunks) {
      const swap::SectionMask before = std::exchange(chunk.streamed, swap::SectionMask{0});
      if (!fits()) chunk.streamed = before;
    }
  }

  BufferId add_buffer(BufferKind kind, std::uint32_t unit, std::uint64_t bytes) {
    plan_.buffers.push_back({kind, unit, plan_.arena_bytes, round_up(bytes, io_alignment)});
    plan_.arena_bytes += round_up(bytes, io_alignment);
    return static_cast<BufferId>(plan_.buffers.size() - 1);
  }

  void lay_out_buffers() {
    const std::uint64_t landing = largest_weights(), ring = largest_states();
    for (std::uint32_t i = 0; landing != 0 && i < slots_.landing; ++i)
      landing_.push_back(add_buffer(BufferKind::landing, 0, landing));
    for (std::uint32_t i = 0; ring != 0 && i < slots_.ring; ++i)
      ring_.push_back(add_buffer(BufferKind::ring, 0, ring));
    if (input_.widen) {
      widened_.push_back(add_buffer(BufferKind::widened, 0, largest_elements(false) * 4));
      if (input_.model.tied_head)
        widened_.push_back(add_buffer(BufferKind::widened, unit_count() - 1,
                                      plan_.units.back().flat.elements * 4));
    }
    for (std::uint32_t u = 0; u < unit_count(); ++u)
      if (!plan_.units[u].weights_on_nvme)
        plan_.units[u].pinned_weights = add_buffer(BufferKind::pinned_weights, u, weight_bytes(u));
    for (swap::ChunkId c = 0; c < plan_.chunks.size(); ++c)
      if (const std::uint64_t bytes = pinned_states_bytes(c); bytes != 0)
        plan_.chunks[c].pinned_states =
            add_buffer(BufferKind::pinned_states, plan_.layout.chunk(c).unit, bytes);
    if (input_.mode == Mode::inference) return;
    lay_out_block_inputs();
    lay_out_gradients();
  }

  void lay_out_block_inputs() {
    for (std::uint32_t u = 1; u < unit_count(); ++u)
      for (std::uint64_t i = 0; i < input_.accumulation; ++i)
        plan_.units[u].inputs.push_back(
            add_buffer(BufferKind::block_input, u, carry_bytes(input_, u - 1)));
  }

  void lay_out_gradients() {
    const bool tied = input_.model.tied_head;
    BufferId eager = no_buffer, shared = no_buffer;
    if (largest_elements(true) != 0)
      eager = add_buffer(BufferKind::gradient, 0, largest_elements(true) * input_.gradient_bytes);
    if (!gradient_is_accumulator())
      shared = add_buffer(BufferKind::accumulator, 0, shared_accumulator_elements() * 4);
    for (std::uint32_t u = 0; u < unit_count(); ++u) {
      UnitPlan& up = plan_.units[u];
      up.gradient =
          up.lazy ? add_buffer(BufferKind::gradient, u, up.flat.elements * input_.gradient_bytes)
                  : eager;
      if (gradient_is_accumulator())
        up.accumulator = up.gradient;
      else if (tied && u == 0)
        up.accumulator = add_buffer(BufferKind::accumulator, 0, up.flat.elements * 4);
      else
        up.accumulator = shared;
    }
  }

  void predict() {
    Prediction& prediction = plan_.prediction;
    const LowerBound bound = lower_bound(plan_.steady, input_.rates);
    // Where one resource does everything both are the same sum, but for the last bit.
    prediction.seconds = std::max(simulate(plan_.steady, input_.rates).seconds, bound.seconds);
    prediction.lower_bound_seconds = bound.seconds;
    prediction.bound_by = bound.bound_by;
    prediction.bytes.nvme_read = plan_.steady.bytes(Resource::nvme_read);
    prediction.bytes.nvme_write = plan_.steady.bytes(Resource::nvme_write);
    prediction.peak_host = plan_.arena_bytes + plan_.activation_bytes + input_.fixed_bytes;
  }

  const PlanInput& input_;
  Plan plan_;
  Slots slots_;
  std::uint64_t activation_ = 0, smallest_ = 0;
  std::vector<BufferId> landing_, ring_, widened_;
};

}  // namespace fathom::engine
