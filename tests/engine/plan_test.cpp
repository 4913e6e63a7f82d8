// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/plan.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "engine/model_specs.hpp"
#include "engine/plan/render.hpp"
#include "engine/plan/simulator.hpp"

namespace fathom::engine {
namespace {

using testing_specs::llama_spec;

PlanInput training(const models::ModelSpec& spec) {
  PlanInput input;
  input.model = spec;
  input.micro_batch = 2;
  input.length = 64;
  return input;
}

// The smallest budget at which planning succeeds.
std::uint64_t smallest(PlanInput input) {
  input.host_memory.reset();
  const std::uint64_t bytes = make_plan(input)->smallest_host_memory;
  input.host_memory = 1;
  const auto refused = make_plan(input);
  EXPECT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("(" + std::to_string(bytes) + " bytes)"),
            std::string::npos)
      << "the refusal names the same number as a plan: " << refused.error().message();
  return bytes;
}

Plan plan_with(PlanInput input, std::uint64_t budget) {
  input.host_memory = budget;
  auto plan = make_plan(input);
  EXPECT_TRUE(plan) << (plan ? "" : plan.error().message());
  return std::move(*plan);
}

double per_parameter(const Plan& plan, std::uint64_t bytes) {
  return static_cast<double>(bytes) / static_cast<double>(plan.input.model.parameters());
}

TEST(Plan, NothingCachedMovesAtMost26BytesPerParameter) {
  for (const bool lazy : {true, false})
    for (const bool tied : {true, false}) {
      PlanInput input = training(llama_spec(6, 512, 4096, tied));
      input.lazy = lazy;
      const Plan plan = plan_with(input, smallest(input));
      EXPECT_LE(per_parameter(plan, plan.prediction.bytes.nvme_read), 14.0) << lazy << tied;
      EXPECT_GT(per_parameter(plan, plan.prediction.bytes.nvme_read), 12.0) << lazy << tied;
      EXPECT_LE(per_parameter(plan, plan.prediction.bytes.nvme_write), 12.0) << lazy << tied;
      EXPECT_GT(per_parameter(plan, plan.prediction.bytes.nvme_write), 11.9) << lazy << tied;
    }
}

TEST(Plan, WeightsInHostMemoryLeave20BytesPerParameter) {
  PlanInput input = training(llama_spec(6, 512, 4096, false));
  input.weights_lowest = Tier::host;
  const Plan plan = plan_with(input, smallest(input));
  EXPECT_NEAR(per_parameter(plan, plan.prediction.bytes.nvme_read), 10, 0.01);
  EXPECT_NEAR(per_parameter(plan, plan.prediction.bytes.nvme_write), 10, 0.01);
}

TEST(Plan, WithoutLimitNothingLivesOnNvme) {
  const auto plan = make_plan(training(llama_spec(4, 256, 1000, false)));
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->bytes_on_nvme(), 0U);
  EXPECT_FALSE(plan->steady.has_transfers());
  EXPECT_EQ(plan->prediction.bytes.nvme_read, 0U);
}

TEST(Plan, TooSmallABudgetSaysTheSmallestThatWorksAndThatOneDoes) {
  const PlanInput input = training(llama_spec(4, 256, 1000, true));
  const std::uint64_t bytes = smallest(input);
  EXPECT_LE(plan_with(input, bytes).prediction.peak_host, bytes);
  PlanInput less = input;
  less.host_memory = bytes - 1;
  const auto refused = make_plan(less);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::bad_config);
  EXPECT_NE(refused.error().message().find("smallest that works"), std::string::npos);
}

TEST(Plan, GradientsThatAloneExceedTheBudgetNameTheClippingKey) {
  PlanInput input = training(llama_spec(8, 512, 1000, false));
  input.host_memory = 2 * input.model.parameters() / 2;
  const auto refused = make_plan(input);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("gradient_clipping"), std::string::npos);
}

TEST(Plan, NeverExceedsTheBudgetAndMoreMemoryIsNeverSlower) {
  for (const bool lazy : {true, false}) {
    PlanInput input = training(llama_spec(10, 384, 8000, lazy));
    input.lazy = lazy;
    const std::uint64_t least = smallest(input);
    double before = 1e9;
    std::uint64_t moved = 0;
    for (int i = 0; i <= 40; ++i) {
      const std::uint64_t budget = least + static_cast<std::uint64_t>(i) * 12 * MiB;
      const Plan plan = plan_with(input, budget);
      EXPECT_LE(plan.prediction.peak_host, budget);
      EXPECT_LE(plan.prediction.seconds, before * 1.01) << i;
      before = plan.prediction.seconds;
      moved = plan.prediction.bytes.nvme_read + plan.prediction.bytes.nvme_write;
    }
    EXPECT_EQ(moved, 0U) << "the last budget holds everything";
  }
}

TEST(Plan, EverySectionLivesInExactlyOnePlace) {
  PlanInput input = training(llama_spec(6, 256, 3000, true));
  const std::uint64_t least = smallest(input);
  for (const std::uint64_t budget : {least, least + 8 * MiB, least + 30 * MiB}) {
    const Plan plan = plan_with(input, budget);
    const std::uint64_t pinned = plan.pinned_bytes(plan.layout.sections().present());
    std::uint64_t stored = 0, all = 0;
    for (swap::ChunkId c = 0; c < plan.chunks.size(); ++c) {
      stored += plan.layout.payload_bytes(c, plan.layout.chunk(c).stored);
      all += plan.layout.payload_bytes(c, plan.layout.sections().present());
    }
    EXPECT_EQ(pinned + stored, all);
  }
}

TEST(Plan, BuffersDoNotOverlap) {
  PlanInput input = training(llama_spec(6, 256, 3000, false));
  const Plan plan = plan_with(input, smallest(input) + 10 * MiB);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const Buffer& buffer : plan.buffers) {
    EXPECT_EQ(buffer.offset % io_alignment, 0U);
    ranges.emplace_back(buffer.offset, buffer.offset + buffer.bytes);
  }
  std::sort(ranges.begin(), ranges.end());
  for (std::size_t i = 1; i < ranges.size(); ++i) EXPECT_GE(ranges[i].first, ranges[i - 1].second);
  EXPECT_LE(ranges.back().second, plan.arena_bytes);
}

// Walks several passes in every order that the dependencies allow (seeded) and checks what the
// order must guarantee: a buffer is refilled only when nothing uses it, a read sees the last write
// of its bytes, a computation finds its unit in the slot that it names.
class ProgramOrder {
 public:
  ProgramOrder(const Plan& plan, const StepProgram& program, unsigned seed)
      : plan_(plan), program_(program), random_(seed) {}

  void run(std::uint32_t passes) {
    const std::size_t count = program_.ops.size();
    std::vector<bool> done(count * passes, false);
    std::size_t next_compute = 0, left = count * passes;
    std::vector<std::size_t> compute;
    for (std::size_t p = 0; p < passes; ++p)
      for (std::size_t i = 0; i < count; ++i)
        if (!program_.ops[i].is_transfer()) compute.push_back(p * count + i);
    const auto ready = [&](std::size_t instance) {
      const std::size_t pass = instance / count;
      for (const swap::Dependency& d : program_.ops[instance % count].after)
        if (d.lag <= pass && !done[(pass - d.lag) * count + d.node]) return false;
      return true;
    };
    while (left != 0) {
      std::vector<std::size_t> choices;
      for (std::size_t i = 0; i < done.size(); ++i)
        if (!done[i] && program_.ops[i % count].is_transfer() && i / count <= current_pass_ + 1 &&
            ready(i))
          choices.push_back(i);
      if (next_compute < compute.size() && ready(compute[next_compute]))
        choices.push_back(compute[next_compute]);
      ASSERT_FALSE(choices.empty()) << "deadlock";
      const std::size_t chosen = choices[random_() % choices.size()];
      if (next_compute < compute.size() && chosen == compute[next_compute]) {
        ++next_compute;
        if (next_compute < compute.size()) current_pass_ = compute[next_compute] / count;
      }
      perform(program_.ops[chosen % count]);
      done[chosen] = true;
      --left;
    }
  }

 private:
  struct Content {
    std::uint32_t version = 0;
    bool operator==(const Content&) const = default;
  };
  using Key = std::pair<swap::ChunkId, bool>;  // chunk, weights

  void perform(const Op& op) {
    const bool weights = op.sections == swap::weights_mask;
    if (op.kind == OpKind::fetch) {
      const BufferId buffer = weights ? op.weights : op.states;
      if (weights) {
        auto& slot = landed_[buffer];
        if (slot.unit != op.unit) slot = {op.unit, {}};
        slot.chunks[op.chunk] = file_[{op.chunk, true}];
      } else {
        ring_[buffer] = {op.chunk, file_[{op.chunk, false}]};
      }
      EXPECT_EQ((file_[{op.chunk, weights}]), (truth_[{op.chunk, weights}])) << "a stale read";
      return;
    }
    if (op.kind == OpKind::write) {
      if (weights) {
        ASSERT_EQ(landed_[op.weights].unit, op.unit) << "written from a slot that was refilled";
        file_[{op.chunk, true}] = landed_[op.weights].chunks.at(op.chunk);
      } else {
        ASSERT_EQ(ring_[op.states].first, op.chunk) << "written from a slot that was refilled";
        file_[{op.chunk, false}] = ring_[op.states].second;
      }
      return;
    }
    if (op.kind == OpKind::update) {
      if (op.states != no_buffer) {
        ASSERT_EQ(ring_[op.states].first, op.chunk) << "states of another chunk";
        ++ring_[op.states].second.version;
        ++truth_[{op.chunk, false}].version;
      }
      if (plan_.units[op.unit].weights_on_nvme) {
        expect_landed(op.unit, op.weights);
        ++landed_[op.weights].chunks[op.chunk].version;
        ++truth_[{op.chunk, true}].version;
      }
      return;
    }
    if (op.kind == OpKind::reduce) return;
    // A widened copy stands in for the landed weights once it is made.
    if (op.kind == OpKind::land || op.widened == no_buffer) {
      if (op.weights != no_buffer && plan_.units[op.unit].weights_on_nvme)
        expect_landed(op.unit, op.weights);
      if (op.tied_weights != no_buffer && op.widened == no_buffer && plan_.units[0].weights_on_nvme)
        expect_landed(0, op.tied_weights);
    }
    if (op.kind == OpKind::land) {
      widened_[op.widened] = op.unit;
    } else if (op.widened != no_buffer) {
      EXPECT_EQ(widened_[op.widened], op.unit);
    }
  }

  void expect_landed(std::uint32_t unit, BufferId buffer) {
    ASSERT_EQ(landed_[buffer].unit, unit) << "another unit in the slot";
    for (swap::ChunkId c = plan_.layout.first_chunk(unit); c < plan_.layout.end_chunk(unit); ++c) {
      ASSERT_TRUE(landed_[buffer].chunks.contains(c)) << "a chunk is missing";
      EXPECT_EQ(landed_[buffer].chunks[c], (truth_[{c, true}])) << "old weights";
    }
  }

  struct Landed {
    std::uint32_t unit = 0xFFFF;
    std::map<swap::ChunkId, Content> chunks;
  };
  const Plan& plan_;
  const StepProgram& program_;
  std::mt19937 random_;
  std::size_t current_pass_ = 0;
  std::map<Key, Content> file_, truth_;
  std::map<BufferId, Landed> landed_;
  std::map<BufferId, std::pair<swap::ChunkId, Content>> ring_;
  std::map<BufferId, std::uint32_t> widened_;
};

TEST(Program, AnyOrderThatItsDependenciesAllowIsRight) {
  for (const bool lazy : {true, false})
    for (const bool tied : {true, false})
      for (const bool widen : {true, false})
        for (const std::uint32_t slots : {2U, 3U, 8U}) {
          PlanInput input = training(llama_spec(5, 256, 700, tied));
          input.lazy = lazy;
          input.widen = widen;
          if (widen) input.compute = ComputeType::fp32;
          input.landing_slots = input.ring_slots = slots;
          input.chunk_elements = 300'000 / 4096 * 4096;  // several chunks a unit
          input.host_memory = smallest(input) + slots * 12 * MiB;
          const auto plan = make_plan(input);
          ASSERT_TRUE(plan);
          for (unsigned seed = 0; seed < 3; ++seed) {
            ProgramOrder(*plan, plan->steady, seed).run(4);
            ProgramOrder(*plan, plan->first, seed).run(1);
            ProgramOrder(*plan, plan->flush, seed).run(1);
          }
        }
}

TEST(Program, FlushUpdatesExactlyTheLazyUnits) {
  for (const bool lazy : {true, false}) {
    PlanInput input = training(llama_spec(3, 256, 700, true));
    input.lazy = lazy;
    const Plan plan = plan_with(input, smallest(input));
    std::set<std::uint32_t> updated;
    for (const Op& op : plan.flush.ops)
      if (op.kind == OpKind::update) updated.insert(op.unit);
    // A tied embedding is always lazy; with clipping everybody is.
    EXPECT_EQ(updated.size(), lazy ? plan.units.size() : 1U);
    const double elements = plan.first.updated_elements() + plan.flush.updated_elements();
    EXPECT_EQ(elements, plan.steady.updated_elements())
        << "a run of one step updates everything once";
  }
}

TEST(Simulator, IsNeverBelowTheLowerBoundAndEqualsItWhenOneResourceWorksAlone) {
  PlanInput input = training(llama_spec(8, 512, 4000, false));
  input.host_memory = smallest(input) + 20 * MiB;
  for (const double read : {1e8, 1e9, 1e11})
    for (const double duplex : {0.0, 0.2, 1.0}) {
      input.rates = {.read = read, .write = 1.5 * read, .duplex = duplex};
      const auto plan = make_plan(input);
      ASSERT_TRUE(plan);
      EXPECT_GE(plan->prediction.seconds, plan->prediction.lower_bound_seconds * 0.999);
    }
  input.host_memory.reset();
  const auto resident = make_plan(input);
  ASSERT_TRUE(resident);
  EXPECT_NEAR(resident->prediction.seconds, resident->prediction.lower_bound_seconds,
              1e-9 * resident->prediction.seconds + 1e-12);
}

TEST(Simulator, MoreSlotsAreNeverSlower) {
  PlanInput input = training(llama_spec(8, 512, 4000, false));
  input.rates = {.read = 1e9, .write = 1e9, .duplex = 0.1};
  input.weights_lowest = input.states_lowest = Tier::nvme;
  double before = 1e9;
  for (const std::uint32_t slots : {2U, 3U, 4U}) {
    input.landing_slots = input.ring_slots = slots;
    PlanInput sized = input;
    sized.host_memory = smallest(input) + 100 * MiB;
    sized.host_memory = *sized.host_memory;
    const auto plan = make_plan(sized);
    ASSERT_TRUE(plan);
    EXPECT_LE(plan->prediction.seconds, before * 1.02);
    before = plan->prediction.seconds;
  }
}

TEST(Plan, JsonHasTheContractKeys) {
  const Plan plan = plan_with(training(llama_spec(3, 256, 700, true)), 300 * MiB);
  const nlohmann::json json = plan_json(plan, {});
  for (const char* key :
       {"parameters", "seconds", "lower_bound_seconds", "bytes", "peak", "shortfalls"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(json["parameters"], plan.input.model.parameters());
  EXPECT_EQ(json["bytes"]["nvme_read"], plan.prediction.bytes.nvme_read);
  EXPECT_EQ(json["peak"]["host"], plan.prediction.peak_host);
  EXPECT_FALSE(plan_text(plan, {}).empty());
}

}  // namespace
}  // namespace fathom::engine
