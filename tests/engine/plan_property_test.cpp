// SPDX-License-Identifier: Apache-2.0
//
// What holds for every plan: random models, batches, budgets, tiers and devices.
#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "engine/model_specs.hpp"
#include "engine/plan/plan.hpp"
#include "engine/plan/planner.hpp"
#include "engine/plan/simulator.hpp"
#include "engine/plan_replay.hpp"

namespace fathom::engine {
namespace {

using testing_replay::Replay;
using testing_specs::llama_spec;

class Chooser {
 public:
  explicit Chooser(unsigned seed) : random_(seed) {}
  template <typename T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[random_() % values.size()];
  }
  std::uint64_t below(std::uint64_t end) { return random_() % end; }
  bool coin() { return below(2) == 0; }

 private:
  std::mt19937_64 random_;
};

PlanInput random_input(Chooser& choose) {
  PlanInput input;
  input.model = llama_spec(1 + choose.below(6), 64 * (1 + choose.below(6)),
                           100 + choose.below(5000), choose.coin());
  input.device = choose.one_of({DeviceKind::cpu, DeviceKind::cuda});
  input.micro_batch = 1 + choose.below(3);
  input.accumulation = 1 + choose.below(3);
  input.length = 16 * (1 + choose.below(8));
  input.lazy = choose.coin();
  const auto format = choose.below(3);
  if (format == 1) {
    input.sections = swap::fp32_sections;
    input.compute = ComputeType::fp32;
    input.gradient_bytes = 4;
  }
  if (format == 2 && !input.on_cuda()) {
    input.compute = ComputeType::fp32;
    input.widen = true;
  }
  input.weights_lowest = choose.one_of({Tier::nvme, Tier::nvme, Tier::host, Tier::device});
  input.states_lowest = choose.one_of({Tier::nvme, Tier::nvme, Tier::host, Tier::device});
  if (choose.below(4) == 0)
    input.activation_tier = choose.one_of({Tier::device, Tier::host, Tier::nvme});
  input.chunk_elements = choose.one_of({4096 * 64, 4096 * 100, 4096 * 4096});
  input.landing_slots = choose.one_of({0U, 0U, 2U, 3U});
  input.ring_slots = choose.one_of({0U, 0U, 2U, 5U});
  input.rates.read = choose.one_of({2e8, 2e9, 2e10});
  input.rates.duplex = choose.one_of({0.0, 0.3, 1.0});
  input.rates.flops = choose.one_of({1e10, 1e12});
  input.rates.update = choose.one_of({1e8, 1e9, 1e10});
  input.rates.dram = choose.one_of({0.0, 2e10});
  return input;
}

// Budgets between the smallest and more than enough. False: this input has no plan at all.
void random_budgets(Chooser& choose, PlanInput& input) {
  const std::uint64_t all = input.model.parameters() * 20 + 64 * MiB;
  if (input.on_cuda()) {
    input.device_memory = 1;
    const auto refused = make_plan(input);
    ASSERT_FALSE(refused);
    input.device_memory.reset();
    input.host_memory.reset();
    const auto plan = make_plan(input);
    ASSERT_TRUE(plan) << plan.error().message();
    input.device_memory = plan->smallest_device_memory + choose.below(all) * choose.below(2);
  }
  input.host_memory.reset();
  const auto plan = make_plan(input);
  ASSERT_TRUE(plan) << plan.error().message();
  input.host_memory = plan->smallest_host_memory + choose.below(all) * choose.below(3) / 2;
}

std::string describe(const PlanInput& input) {
  return std::string(to_string(input.device)) + (input.lazy ? " lazy" : " eager") +
         (input.model.tied_head ? " tied" : "") + " weights " + to_string(input.weights_lowest) +
         " states " + to_string(input.states_lowest) + " gradient " +
         std::to_string(input.gradient_bytes) + " layers " + std::to_string(input.model.layers);
}

void check_budgets(const Plan& plan) {
  const PlanInput& input = plan.input;
  std::uint64_t host = input.fixed_bytes, device = input.device_fixed_bytes;
  (input.on_cuda() ? device : host) += plan.activation_bytes;
  for (const Buffer& buffer : plan.buffers)
    (buffer.tier == Tier::device ? device : host) += buffer.bytes;
  EXPECT_LE(host, *input.host_memory);
  EXPECT_EQ(host, plan.prediction.peak_host);
  if (input.on_cuda()) {
    EXPECT_LE(device, input.device_memory.value_or(UINT64_MAX));
  }
  EXPECT_EQ(input.on_cuda() ? device : 0, plan.prediction.peak_device);
}

void check_buffers(const Plan& plan) {
  for (const Tier tier : {Tier::host, Tier::device}) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    for (const Buffer& buffer : plan.buffers)
      if (buffer.tier == tier) ranges.emplace_back(buffer.offset, buffer.offset + buffer.bytes);
    std::sort(ranges.begin(), ranges.end());
    for (std::size_t i = 1; i < ranges.size(); ++i)
      EXPECT_GE(ranges[i].first, ranges[i - 1].second);
    if (!ranges.empty()) {
      EXPECT_LE(ranges.back().second,
                tier == Tier::host ? plan.arena_bytes : plan.device_arena_bytes);
    }
  }
}

// Every section of every chunk lives in exactly one tier, none below the lowest allowed.
void check_residence(const Plan& plan) {
  const swap::SectionMask present = plan.layout.sections().present();
  std::uint64_t all = 0, stored = 0;
  for (swap::ChunkId c = 0; c < plan.chunks.size(); ++c) {
    all += plan.layout.payload_bytes(c, present);
    stored += plan.layout.payload_bytes(c, plan.layout.chunk(c).stored);
  }
  EXPECT_EQ(plan.resident_bytes(present, Tier::nvme), stored);
  EXPECT_EQ(plan.pinned_bytes(present) + stored, all);
  const auto nothing_below = [&](swap::SectionMask set, Tier lowest) {
    for (const Tier tier : {Tier::host, Tier::nvme})
      if (tier > lowest) {
        EXPECT_EQ(plan.resident_bytes(set, tier), 0U) << to_string(tier);
      }
  };
  nothing_below(swap::weights_mask, plan.input.lowest_weights());
  nothing_below(swap::states_mask, plan.input.lowest_states());
}

void check_dependencies(const StepProgram& program) {
  for (OpId id = 0; id < program.ops.size(); ++id)
    for (const swap::Dependency& d : program.ops[id].after) {
      EXPECT_LT(d.node, program.ops.size());
      EXPECT_LE(d.lag, 1U);
      if (d.lag == 0) {
        EXPECT_LT(d.node, id);
      }
    }
}

// The bound is one, and the prediction no less; but for the last bits. What host memory as a whole
// can carry is a bound that the simulation of single resources does not know.
void expect_bounded(const Plan& plan) {
  const Prediction& p = plan.prediction;
  EXPECT_GE(p.seconds, p.lower_bound_seconds);
  if (p.bound_by != "dram") {
    EXPECT_GE(simulate(plan.steady, plan.input.rates).seconds, p.lower_bound_seconds * (1 - 1e-9))
        << p.bound_by;
  }
}

std::string replay(const Plan& plan, unsigned seed) {
  Replay replay(plan, seed, /*pending=*/false);
  replay.run(plan.first, 1);
  replay.run(plan.steady, 3);
  if (!plan.flush.empty()) replay.run(plan.flush, 1);
  replay.run(plan.evaluation, 2);
  replay.check_rest();
  return replay.problems();
}

class EveryPlan : public testing::TestWithParam<unsigned> {};

TEST_P(EveryPlan, KeepsItsPromises) {
  Chooser choose(GetParam());
  PlanInput input = random_input(choose);
  SCOPED_TRACE(describe(input));
  ASSERT_NO_FATAL_FAILURE(random_budgets(choose, input));
  const auto plan = make_plan(input);
  ASSERT_TRUE(plan) << plan.error().message();
  check_budgets(*plan);
  check_buffers(*plan);
  check_residence(*plan);
  for (const StepProgram* program : {&plan->first, &plan->steady, &plan->flush, &plan->evaluation})
    check_dependencies(*program);
  expect_bounded(*plan);
  EXPECT_EQ(replay(*plan, GetParam()), "");
}

// The placements that make_plan did not choose, too.
TEST_P(EveryPlan, IsRightInAnyOrderThatItsDependenciesAllow) {
  Chooser choose(GetParam());
  PlanInput input = random_input(choose);
  SCOPED_TRACE(describe(input));
  ASSERT_NO_FATAL_FAILURE(random_budgets(choose, input));
  for (const DeviceFill fill :
       {DeviceFill::whole_units, DeviceFill::weights_first, DeviceFill::states_first})
    for (const double share : {0.3, 1.0}) {
      if (!input.on_cuda() && (fill != DeviceFill::whole_units || share != 1)) continue;
      Planner planner(input, input.chunk_elements);
      if (!planner.place({.more_slots = choose.coin(), .fill = fill, .share = share}).fits)
        continue;
      planner.predict();
      const Plan plan = planner.finish();
      expect_bounded(plan);
      ASSERT_EQ(replay(plan, GetParam()), "") << static_cast<int>(fill) << " " << share;
    }
}

// Adding memory, of either tier, never makes the predicted step slower.
TEST_P(EveryPlan, GainsFromMemory) {
  Chooser choose(GetParam());
  PlanInput input = random_input(choose);
  SCOPED_TRACE(describe(input));
  ASSERT_NO_FATAL_FAILURE(random_budgets(choose, input));
  double before = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 6; ++i) {
    const auto plan = make_plan(input);
    ASSERT_TRUE(plan) << plan.error().message();
    EXPECT_LE(plan->prediction.seconds, before * 1.01)
        << "host " << *input.host_memory << " device " << input.device_memory.value_or(0);
    before = plan->prediction.seconds;
    const std::uint64_t more = choose.below(input.model.parameters() * 3);
    if (input.on_cuda() && choose.coin())
      input.device_memory = *input.device_memory + more;
    else
      input.host_memory = *input.host_memory + more;
  }
}

// 26 bytes a parameter, less what the cache of C bytes a parameter saves (bytes.md §4), but for the
// first and the last unit, which are read once less, and units still landed where the pass turns.
TEST(Traffic, FallsByThreeBytesPerCachedByteOfWeightsThenByTwo) {
  for (const DeviceKind device : {DeviceKind::cpu, DeviceKind::cuda})
    for (const bool lazy : {true, false}) {
      PlanInput input;
      input.model = llama_spec(24, 256, 300, false);
      input.device = device;
      input.lazy = lazy;
      input.length = 16;
      input.landing_slots = input.ring_slots = 2;
      const auto n = static_cast<double>(input.model.parameters());
      const auto roomy = make_plan(input);
      ASSERT_TRUE(roomy);
      // No room on the device beyond what it takes to compute.
      if (device == DeviceKind::cuda) input.device_memory = roomy->smallest_device_memory;
      const std::uint64_t least = make_plan(input)->smallest_host_memory;
      double largest = 0;
      for (const models::UnitSpec& unit : input.model.units)
        largest = std::max(largest, static_cast<double>(unit.elements()));
      for (int i = 0; i <= 12; ++i) {
        input.host_memory = least + static_cast<std::uint64_t>(i * n);
        const auto plan = make_plan(input);
        ASSERT_TRUE(plan) << plan.error().message();
        const swap::SectionMask present = plan->layout.sections().present();
        const double cached = static_cast<double>(plan->pinned_bytes(present)) / n;
        const double moved = static_cast<double>(plan->prediction.bytes.nvme_read +
                                                 plan->prediction.bytes.nvme_write) /
                             n;
        const double formula = cached <= 2 ? 26 - 3 * cached : 20 - 2 * (cached - 2);
        EXPECT_LE(moved, formula + 0.05) << to_string(device) << " " << lazy << " C " << cached;
        // Embedding, head, and two landed units: one read of W each.
        EXPECT_GE(moved, formula - 2 * 4 * largest / n - 0.05)
            << to_string(device) << " " << lazy << " C " << cached;
        // W first: no state is cached before all W are.
        if (plan->resident_bytes(swap::weights_mask, Tier::nvme) > 0) {
          EXPECT_LE(static_cast<double>(plan->pinned_bytes(swap::states_mask)), 12 * largest);
        }
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Random, EveryPlan, testing::Range(0U, 120U));

}  // namespace
}  // namespace fathom::engine
