// SPDX-License-Identifier: Apache-2.0
//
// Ranks: W of them with batch b train what one with batch W·b trains, whatever the stage and the
// placement, and move what ZeRO says they move. Ranks are threads here.
#include <cmath>
#include <thread>

#include <gtest/gtest.h>

#include "comm/threads.hpp"
#include "engine/checkpoint.hpp"
#include "training_fixture.hpp"

namespace fathom::engine::testing_runs {
namespace {

struct Setting {
  int world = 2, stage = 3;
  std::uint64_t host_memory = 0;  // 0: everything in memory
  bool operator==(const Setting&) const = default;
};

// One rank's outcome and what it is compared by.
struct RankOutcome {
  Outcome outcome;
  std::vector<UnitPlan> units;
  comm::Traffic traffic;
};

std::vector<RankOutcome> run_ranks(const Job& job, const Setting& setting,
                                   ComputeType reduce = ComputeType::fp32) {
  const ScratchDirectory directory;
  auto ranks = comm::thread_ranks(setting.world);
  std::vector<RankOutcome> outcomes(ranks.size());
  std::vector<std::string> errors(ranks.size());
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < ranks.size(); ++r)
    threads.emplace_back([&, r] {
      const Where where{.host_memory = setting.host_memory,
                        .ranks = ranks[r].get(),
                        .stage = setting.stage,
                        .reduce = reduce};
      TrainingRun run(job, where, directory.path());
      auto outcome = run.error() ? Result<Outcome>(fail(*run.error())) : run.train(where);
      if (!outcome) {
        errors[r] = outcome.error().message();
        ranks[r]->report(outcome.error());
        return;
      }
      outcomes[r] = {std::move(*outcome), run.plan().units, ranks[r]->traffic()};
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& error : errors)
    if (!error.empty()) throw std::runtime_error(error);
  return outcomes;
}

// Unit by unit the sections of all ranks one after the other: W of every rank, lo of every rank, …
std::vector<std::vector<std::byte>> joined(const Job& job, const std::vector<RankOutcome>& ranks,
                                           bool partitioned) {
  if (!partitioned) return ranks.front().outcome.units;
  std::vector<std::vector<std::byte>> units(ranks.front().units.size());
  for (std::size_t u = 0; u < units.size(); ++u) {
    std::uint64_t at = 0;
    for (const swap::Section section : swap::all_sections) {
      const std::uint64_t bytes =
          ranks.front().units[u].partition_elements * job.sections().of(section);
      for (const RankOutcome& rank : ranks) {
        const auto begin = rank.outcome.units[u].begin() + static_cast<std::ptrdiff_t>(at);
        units[u].insert(units[u].end(), begin, begin + static_cast<std::ptrdiff_t>(bytes));
      }
      at += bytes;
    }
  }
  return units;
}

// Largest difference of fp32 masters (fp32 training: W), relative to the largest weight.
double difference(const std::vector<std::vector<std::byte>>& a,
                  const std::vector<std::vector<std::byte>>& b,
                  const std::vector<UnitPlan>& units) {
  double worst = 0, largest = 0;
  for (std::size_t u = 0; u < units.size(); ++u)
    for (std::uint64_t i = 0; i < units[u].flat.used; ++i) {
      float x = 0, y = 0;
      std::memcpy(&x, a[u].data() + i * 4, 4);
      std::memcpy(&y, b[u].data() + i * 4, 4);
      worst = std::max(worst, std::abs(static_cast<double>(x) - y));
      largest = std::max(largest, std::abs(static_cast<double>(x)));
    }
  return worst / largest;
}

Job fp32_job(double clipping) {
  Job job;
  job.fp32 = true;
  job.clipping = clipping;
  job.micro_batch = 1;
  job.steps = 3;
  return job;
}

// ZeRO's counts of a step: gathers of W for forward and backward and one reduce-scatter (stage 3; a
// unit that is still landed when backward begins is not gathered again), one gather of updated W
// and one reduce-scatter (1, 2), one all-reduce (0).
std::uint64_t elements_of_a_step(const std::vector<UnitPlan>& units, int stage) {
  std::uint64_t sum = 0;
  for (std::size_t u = 0; u < units.size(); ++u) {
    const bool ends = u == 0 || u + 1 == units.size();  // landed once: embedding and head
    sum += units[u].flat.elements * (stage < 3 ? 2 : ends ? 2 : 3);
  }
  return sum;
}

class RanksTest : public testing::TestWithParam<std::tuple<int, double>> {};

TEST_P(RanksTest, TrainTheSameAtEveryStageAndPlacement) {
  const auto [world, clipping] = GetParam();
  const Job job = fp32_job(clipping);
  Job whole = job;
  whole.micro_batch *= static_cast<std::uint64_t>(world);
  const Outcome wanted = outcome_of(whole, {});

  std::optional<std::vector<std::vector<std::byte>>> first;
  std::vector<double> first_losses;
  for (const int stage : {3, 2, 1, 0})
    for (const bool nvme : {false, true}) {
      Setting setting{.world = world, .stage = stage};
      if (nvme) {
        const auto ranks = comm::thread_ranks(world);
        setting.host_memory = smallest_memory(job, {.ranks = ranks.front().get(), .stage = stage});
      }
      SCOPED_TRACE(testing::Message() << "stage " << stage << (nvme ? ", nvme" : ", host"));
      const std::vector<RankOutcome> ranks = run_ranks(job, setting);
      const auto units = joined(job, ranks, stage > 0);
      for (std::size_t step = 0; step < wanted.losses.size(); ++step) {
        EXPECT_NEAR(ranks[0].outcome.losses[step], wanted.losses[step], 2e-6 * wanted.losses[step]);
        EXPECT_NEAR(ranks[0].outcome.norms[step], wanted.norms[step], 1e-5 * wanted.norms[step]);
        for (const RankOutcome& rank : ranks) {
          EXPECT_EQ(rank.outcome.losses[step], ranks[0].outcome.losses[step]) << "ranks agree";
          EXPECT_EQ(rank.outcome.steps[step].bytes.network,
                    rank.outcome.steps[step].planned.network);
          EXPECT_EQ(rank.outcome.steps[step].bytes.nvme_read,
                    rank.outcome.steps[step].planned.nvme_read);
        }
      }
      // Units differ in their padding from those of one rank, parameters lie where they lay.
      EXPECT_LT(difference(wanted.units, units, ranks[0].units), 2e-5);
      if (stage == 0) continue;
      // The same reductions in the same order: the same bits.
      if (!first) {
        first = units;
        first_losses = ranks[0].outcome.losses;
      }
      EXPECT_EQ(ranks[0].outcome.losses, first_losses);
      EXPECT_TRUE(units == *first) << "weights and states";
      EXPECT_EQ(ranks[0].outcome.counters.total_read() > 0, nvme);
    }
}

TEST_P(RanksTest, MoveWhatZeroSays) {
  const auto [world, clipping] = GetParam();
  const Job job = fp32_job(clipping);
  for (const int stage : {3, 2, 1, 0}) {
    const std::vector<RankOutcome> ranks = run_ranks(job, {.world = world, .stage = stage});
    // The last step's, whose own updates wait for a flush that moves no more with stage 3.
    const StepResult& step = ranks[0].outcome.steps.back();
    const std::uint64_t most = 4 * elements_of_a_step(ranks[0].units, stage);
    if (stage < 3)
      EXPECT_EQ(step.bytes.network, most) << stage;
    else
      EXPECT_LE(step.bytes.network, most);
    EXPECT_GE(step.bytes.network, 4 * elements_of_a_step(ranks[0].units, 2));
    std::uint64_t elements = 0;
    for (const UnitPlan& unit : ranks[0].units) elements += unit.flat.elements;
    EXPECT_LE(step.bytes.network, 3 * 4 * elements) << "never more than 3N";
  }
}

INSTANTIATE_TEST_SUITE_P(Worlds, RanksTest,
                         testing::Combine(testing::Values(2, 3), testing::Values(0.0, 0.5)),
                         [](const auto& tested) {
                           return std::to_string(std::get<0>(tested.param)) +
                                  (std::get<1>(tested.param) > 0 ? "_clipped" : "_eager");
                         });

// What `read` makes of every rank's run of `setting`, in threads.
template <class Read>
void on_ranks(const Job& job, const Setting& setting, const Read& read) {
  const ScratchDirectory directory;
  auto ranks = comm::thread_ranks(setting.world);
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < ranks.size(); ++r)
    threads.emplace_back([&, r] {
      const Where where{.ranks = ranks[r].get(), .stage = setting.stage};
      TrainingRun run(job, where, directory.path());
      ASSERT_FALSE(run.error());
      read(r, run, *ranks[r]);
    });
  for (std::thread& thread : threads) thread.join();
}

// Parameters, all sections, without the padding that depends on the world.
std::vector<std::vector<std::byte>> parameters_of(const Job& job,
                                                  const std::vector<std::vector<std::byte>>& units,
                                                  const std::vector<UnitPlan>& plans) {
  std::vector<std::vector<std::byte>> cut(units.size());
  for (std::size_t u = 0; u < units.size(); ++u) {
    std::uint64_t at = 0;
    for (const swap::Section section : swap::all_sections) {
      const std::uint64_t width = job.sections().of(section);
      const auto begin = units[u].begin() + static_cast<std::ptrdiff_t>(at);
      cut[u].insert(cut[u].end(), begin,
                    begin + static_cast<std::ptrdiff_t>(plans[u].flat.used * width));
      at += plans[u].flat.elements * width;
    }
  }
  return cut;
}

// A checkpoint of any world and stage is the state, exactly, in any other.
TEST(Ranks, ResumeInAnotherWorldAndStage) {
  Job job;  // bf16: all four sections
  job.micro_batch = 1;
  std::optional<std::vector<std::vector<std::byte>>> wanted;
  const ScratchDirectory saved;
  std::string from;
  for (const Setting& setting :
       {Setting{.world = 2, .stage = 3}, Setting{.world = 1, .stage = 3},
        Setting{.world = 4, .stage = 2}, Setting{.world = 3, .stage = 1},
        Setting{.world = 2, .stage = 0}, Setting{.world = 4, .stage = 3}}) {
    std::vector<RankOutcome> outcomes(static_cast<std::size_t>(setting.world));
    const std::string into =
        saved.path() + "/" + std::to_string(setting.world) + "-" + std::to_string(setting.stage);
    on_ranks(job, setting, [&](std::size_t r, TrainingRun& run, comm::Communicator& ranks) {
      if (from.empty()) {
        ASSERT_TRUE(run.train());  // the first trains, the others take over
      } else {
        const auto checkpoint = Checkpoint::open(from);
        ASSERT_TRUE(checkpoint) << checkpoint.error().message();
        const auto loaded = load_checkpoint(*checkpoint, run.residence());
        ASSERT_TRUE(loaded) << loaded.error().message();
      }
      const auto units = run.read_units();
      ASSERT_TRUE(units);
      outcomes[r].outcome.units = *units;
      outcomes[r].units = run.plan().units;
      const auto written = write_checkpoint(into, run.residence(), Progress{.step = 4}, {}, &ranks);
      ASSERT_TRUE(written) << written.error().message();
    });
    const auto state =
        parameters_of(job, joined(job, outcomes, setting.stage > 0), outcomes[0].units);
    if (!wanted) wanted = state;
    EXPECT_TRUE(state == *wanted) << setting.world << " ranks, stage " << setting.stage;
    from = into;
  }
}

TEST(Ranks, ReduceInSixteenBitsWhenAsked) {
  Job job;  // bf16
  job.micro_batch = 1;
  job.steps = 3;
  Job whole = job;
  whole.micro_batch = 2;
  const Outcome wanted = outcome_of(whole, {});
  const auto full = run_ranks(job, {.world = 2});
  const auto half = run_ranks(job, {.world = 2}, ComputeType::bf16);
  for (std::size_t step = 0; step < 3; ++step) {
    EXPECT_NEAR(full[0].outcome.losses[step], wanted.losses[step], 2e-3 * wanted.losses[step]);
    EXPECT_NEAR(half[0].outcome.losses[step], wanted.losses[step], 5e-3 * wanted.losses[step]);
    EXPECT_LT(half[0].outcome.steps[step].bytes.network, full[0].outcome.steps[step].bytes.network);
  }
}

TEST(Ranks, LeaveAnUpdateOutTogether) {
  for (const double clipping : {0.0, 0.5}) {
    Job job = fp32_job(clipping);
    job.loss_scale = 1e38;  // sums of gradients overflow
    job.steps = 1;
    const auto once = [&]() -> std::string {
      try {
        const auto ranks = run_ranks(job, {.world = 2});
        for (const RankOutcome& rank : ranks) EXPECT_TRUE(rank.outcome.steps[0].skipped);
        EXPECT_EQ(ranks[0].outcome.steps[0].non_finite, ranks[1].outcome.steps[0].non_finite);
        return ranks[0].outcome.steps[0].non_finite;
      } catch (const std::runtime_error& error) {
        return error.what();
      }
    };
    EXPECT_FALSE(once().empty());
  }
}

}  // namespace
}  // namespace fathom::engine::testing_runs
