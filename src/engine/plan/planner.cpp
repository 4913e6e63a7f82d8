// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/planner.hpp"

#include <algorithm>
#include <utility>

#include "base/units.hpp"
#include "engine/plan/cuda_program.hpp"
#include "engine/plan/estimate.hpp"
#include "engine/plan/lower_bound.hpp"
#include "engine/plan/program_builder.hpp"
#include "engine/plan/simulator.hpp"

namespace fathom::engine {
namespace {

swap::LayoutInput layout_input(const Plan& plan) {
  swap::LayoutInput layout;
  for (const UnitPlan& up : plan.units) layout.unit_elements.push_back(up.partition_elements);
  layout.chunk_elements = plan.input.chunk_elements;
  layout.sections = plan.input.sections;
  layout.path_weights = plan.input.path_weights;
  return layout;
}

template <typename Write>
void with_builder(const Plan& plan, const Rings& rings, const Write& write) {
  if (plan.input.on_cuda())
    write(CudaProgram(plan, rings));
  else
    write(ProgramBuilder(plan, rings.landing, rings.ring, rings.widened));
}

}  // namespace

Planner::Planner(const PlanInput& input, std::uint64_t chunk_elements)
    : plan_(std::make_unique<Plan>()) {
  Plan& plan = *plan_;
  plan.input = input;
  plan.input.chunk_elements = chunk_elements;
  const bool train = input.mode == Mode::train;
  for (const models::UnitSpec& unit : input.model.units) {
    UnitPlan up;
    up.flat = flatten(unit, input.partitions());
    up.partition_elements = up.flat.elements / input.partitions();
    if (input.partitions() > 1) up.partition_first = input.rank * up.partition_elements;
    // A tied embedding collects gradients from both ends of the pass; updating it at the next
    // forward saves a third read of its W.
    up.lazy = train && (input.lazy || (plan.units.empty() && input.model.tied_head));
    plan.units.push_back(std::move(up));
  }
  // Chunks exist before placement; what each stores follows from it.
  plan.layout = swap::Layout::build(layout_input(plan));
  plan.chunks.resize(plan.layout.chunks().size());
  put_everything_lowest();
  memory_ = std::make_unique<Memory>(plan);
}

void Planner::put_everything_lowest() {
  Plan& plan = *plan_;
  const PlanInput& input = plan.input;
  for (UnitPlan& up : plan.units) {
    up.weights_on_nvme = input.lowest_weights() == Tier::nvme;
    up.weights_on_device = input.lowest_weights() == Tier::device;
    up.inputs_tier = Tier::device;
  }
  const auto states = static_cast<swap::SectionMask>(swap::states_mask & input.sections.present());
  for (ChunkPlan& chunk : plan.chunks) {
    chunk.streamed = input.lowest_states() == Tier::nvme ? states : swap::SectionMask{0};
    chunk.states_on_device = input.lowest_states() == Tier::device;
  }
}

Placed Planner::place(const Policy& policy) {
  put_everything_lowest();
  memory_->refresh_all();
  return placed_ = engine::place(*plan_, *memory_, policy);
}

std::uint64_t Planner::waiting_gradients() const {
  std::uint64_t sum = 0;
  for (const UnitPlan& up : plan_->units)
    if (up.lazy) sum += up.partition_elements * plan_->input.gradient_bytes;
  return sum;
}

// Block inputs on nvme are stored as the W of units that follow the model's.
void Planner::rebuild_layout() {
  Plan& plan = *plan_;
  swap::LayoutInput layout = layout_input(plan);
  const std::uint64_t element = plan.input.sections.of(swap::Section::W);
  for (UnitPlan& up : plan.units) {
    if (!plan.input.on_cuda() || up.inputs_tier != Tier::nvme) continue;
    up.input_extents = static_cast<std::uint32_t>(layout.unit_elements.size());
    layout.unit_elements.push_back(memory_->all_input_bytes() / element);
  }
  layout.stored = [&plan](std::uint32_t unit, std::uint32_t index) {
    if (unit >= plan.units.size()) return swap::weights_mask;
    const ChunkPlan& chunk = plan.chunks[plan.layout.first_chunk(unit) + index];
    return static_cast<swap::SectionMask>(
        chunk.streamed | (plan.units[unit].weights_on_nvme ? swap::weights_mask : 0));
  };
  plan.layout = swap::Layout::build(layout);
}

double Planner::estimate() const { return estimate_seconds(*plan_, *memory_); }

bool Planner::everything_in_place() const {
  const Traffic traffic = traffic_of(*plan_);
  return traffic.nvme_read + traffic.nvme_write + traffic.h2d + traffic.d2h == 0;
}

void Planner::predict() {
  Plan& plan = *plan_;
  rebuild_layout();
  rings_ = lay_out_buffers(plan, *memory_);
  plan.activation_bytes = memory_->activation_bytes();
  plan.landing_slots = static_cast<std::uint32_t>(rings_.landing.size());
  plan.ring_slots = static_cast<std::uint32_t>(rings_.ring.size());
  plan.staging_slots = static_cast<std::uint32_t>(rings_.staging.size());
  plan.smallest_host_memory = placed_.smallest_host;
  plan.smallest_device_memory = plan.input.on_cuda() ? placed_.smallest_device : 0;
  const bool train = plan.input.mode == Mode::train;
  with_builder(plan, rings_, [&](auto builder) {
    plan.steady = train ? builder.training(true) : builder.inference(false);
    if (!train && plan.input.model.encoder_decoder) plan.decode = builder.inference(true);
  });

  Prediction& prediction = plan.prediction;
  const LowerBound bound = lower_bound(plan);
  // Where one resource does everything both are the same sum, but for the last bit.
  prediction.seconds = std::max(simulate(plan.steady, plan.input.rates).seconds, bound.seconds);
  prediction.lower_bound_seconds = bound.seconds;
  prediction.bound_by = bound.bound_by;
  prediction.terms = bound.terms;
  prediction.bytes = {.nvme_read = plan.steady.bytes(Resource::nvme_read),
                      .nvme_write = plan.steady.bytes(Resource::nvme_write),
                      .h2d = plan.steady.bytes(Resource::h2d),
                      .d2h = plan.steady.bytes(Resource::d2h),
                      .network = plan.steady.bytes(Resource::network)};
  prediction.peak_host = plan.arena_bytes + plan.input.fixed_bytes;
  const bool cuda = plan.input.on_cuda();
  (cuda ? prediction.peak_device : prediction.peak_host) += plan.activation_bytes;
  if (cuda) prediction.peak_device += plan.device_arena_bytes + plan.input.device_fixed_bytes;
}

Plan Planner::finish() {
  Plan& plan = *plan_;
  if (plan.input.mode == Mode::train)
    with_builder(plan, rings_, [&](auto builder) {
      plan.first = builder.training(false);
      plan.flush = builder.flush();
      plan.evaluation = builder.inference(false);
    });
  return std::move(plan);
}

}  // namespace fathom::engine
