// SPDX-License-Identifier: Apache-2.0
//
// Expected values were worked out from the published formulas, not from this code.
#include "config/schedule.hpp"

#include <cmath>

#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

constexpr double tiny = 1e-15;

SchedulerConfig warmup(bool log, std::uint64_t steps) {
  return {.type = SchedulerType::warmup,
          .warmup_min_lr = 0.001,
          .warmup_max_lr = 0.009,
          .warmup_num_steps = steps,
          .log_warmup = log};
}

TEST(Schedule, ConstantIsTheBaseRate) {
  const LearningRate schedule({}, 0.25);
  EXPECT_EQ(schedule.at(-1), 0.25);
  EXPECT_EQ(schedule.at(1'000'000), 0.25);
}

TEST(Schedule, WarmupUsesTheMinimumForTheFirstTwoUpdates) {
  for (const bool log : {true, false}) {
    const LearningRate schedule(warmup(log, 16), 1.0);
    EXPECT_EQ(schedule.of_update(0), 0.001);
    EXPECT_EQ(schedule.of_update(1), 0.001);
    EXPECT_GT(schedule.of_update(2), 0.001);
  }
}

TEST(Schedule, WarmupGrowsWithTheLogarithmOrInALine) {
  // log: ln(4)/ln(16) = 1/2 at i = 3; ln(2)/ln(16) = 1/4 at i = 1. Linear: 4/16 at i = 4.
  EXPECT_NEAR(LearningRate(warmup(true, 16), 1).at(3), 0.005, tiny);
  EXPECT_NEAR(LearningRate(warmup(true, 16), 1).at(1), 0.003, tiny);
  EXPECT_NEAR(LearningRate(warmup(false, 16), 1).at(4), 0.003, tiny);
  for (const bool log : {true, false}) {
    EXPECT_NEAR(LearningRate(warmup(log, 16), 1).at(16), 0.009, tiny);
    EXPECT_NEAR(LearningRate(warmup(log, 16), 1).at(5000), 0.009, tiny);
  }
}

TEST(Schedule, WarmupHasAtLeastTwoSteps) {
  EXPECT_NEAR(LearningRate(warmup(false, 1), 1).at(1), 0.005, tiny);
  EXPECT_NEAR(LearningRate(warmup(true, 0), 1).at(2), 0.009, tiny);
}

TEST(Schedule, DecayFallsInALineToTheMinimumAndStays) {
  SchedulerConfig config = warmup(false, 10);
  config.type = SchedulerType::warmup_decay;
  config.total_num_steps = 30;
  const LearningRate schedule(config, 1);
  EXPECT_EQ(schedule.at(-1), 0.001);
  EXPECT_NEAR(schedule.at(5), 0.005, tiny);   // 5/10
  EXPECT_NEAR(schedule.at(10), 0.009, tiny);  // (30−10)/20
  EXPECT_NEAR(schedule.at(25), 0.003, tiny);  // 5/20
  EXPECT_NEAR(schedule.at(30), 0.001, tiny);
  EXPECT_NEAR(schedule.at(99), 0.001, tiny);
}

TEST(Schedule, DecayThatEndsBeforeItsWarmupDividesByOne) {
  SchedulerConfig config = warmup(false, 10);
  config.type = SchedulerType::warmup_decay;
  config.total_num_steps = 5;
  EXPECT_NEAR(LearningRate(config, 1).at(4), 0.001 + 0.4 * 0.008, tiny);
  EXPECT_NEAR(LearningRate(config, 1).at(10), 0.001, tiny);
}

TEST(Schedule, CosineWarmsUpFromARatioAndFallsToARatio) {
  const SchedulerConfig config{.type = SchedulerType::warmup_cosine,
                               .warmup_min_ratio = 0.2,
                               .cos_min_ratio = 0.1,
                               .warmup_num_steps = 4,
                               .total_num_steps = 12,
                               .log_warmup = false};
  const LearningRate schedule(config, 2.0);
  EXPECT_EQ(schedule.of_update(0), 0.0);
  EXPECT_NEAR(schedule.of_update(1), 0.4, tiny);  // 2 · 0.2
  EXPECT_NEAR(schedule.at(2), 1.2, tiny);         // 2 · (0.2 + 2/4 · 0.8)
  EXPECT_NEAR(schedule.at(7), 1.1, tiny);         // p = 4/8: 2 · (0.1 + 0.9/2)
  EXPECT_NEAR(schedule.at(4), 2 * (0.1 + 0.9 * (1 + std::sqrt(0.5 + std::sqrt(0.125))) / 2), 1e-14);
  EXPECT_NEAR(schedule.at(11), 0.2, tiny);  // p = 1
  EXPECT_NEAR(schedule.at(400), 0.2, tiny);
}

TEST(Schedule, RangeTestGrowsInALineOrInStairs) {
  SchedulerConfig config{.type = SchedulerType::range_test,
                         .range_min_lr = 0.5,
                         .range_step_rate = 2,
                         .range_step_size = 4};
  EXPECT_NEAR(LearningRate(config, 1).at(-1), 0.5, tiny);
  EXPECT_NEAR(LearningRate(config, 1).at(0), 0.75, tiny);  // 0.5 · (1 + 2 · 1/4)
  EXPECT_NEAR(LearningRate(config, 1).at(7), 2.5, tiny);
  config.range_staircase = true;
  EXPECT_NEAR(LearningRate(config, 1).at(2), 0.5, tiny);
  EXPECT_NEAR(LearningRate(config, 1).at(3), 1.5, tiny);
}

TEST(Schedule, HuggingFaceCurvesCountUpdatesFromZero) {
  SchedulerConfig config{
      .type = SchedulerType::hf_linear, .warmup_num_steps = 4, .total_num_steps = 12};
  const LearningRate linear(config, 8.0);
  const double expected[] = {0, 2, 4, 6, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0};
  for (std::size_t i = 0; i < std::size(expected); ++i)
    EXPECT_NEAR(linear.of_update(i), expected[i], tiny) << i;
  config.type = SchedulerType::hf_constant_with_warmup;
  EXPECT_NEAR(LearningRate(config, 8).of_update(1), 2, tiny);
  EXPECT_NEAR(LearningRate(config, 8).of_update(100), 8, tiny);
  config.type = SchedulerType::hf_cosine;
  EXPECT_NEAR(LearningRate(config, 8).of_update(3), 6, tiny);
  EXPECT_NEAR(LearningRate(config, 8).of_update(4), 8, tiny);
  EXPECT_NEAR(LearningRate(config, 8).of_update(8), 4, tiny);
  EXPECT_NEAR(LearningRate(config, 8).of_update(12), 0, tiny);
  config.warmup_num_steps = 0;
  EXPECT_NEAR(LearningRate(config, 8).of_update(0), 8, tiny);
}

TEST(Schedule, ResumesFromItsOneNumber) {
  SchedulerConfig config = warmup(true, 16);
  config.last_batch_iteration = 2;
  const LearningRate resumed(config, 1), whole(warmup(true, 16), 1);
  EXPECT_EQ(resumed.first_iteration(), 2);
  EXPECT_EQ(resumed.of_update(0), whole.of_update(3));
}

TEST(Schedule, ComesFromTheFile) {
  Sources sources;
  sources.flags.max_steps = 12;
  const Config config = must_load(with_batch(R"(
    "optimizer": {"type": "Adam", "params": {"lr": 0.5}},
    "scheduler": {"type": "WarmupCosineLR", "params": {"warmup_num_steps": 4, "cos_min_ratio": 0,
                  "warmup_type": "linear", "total_num_steps": "auto"}})"),
                                  sources)
                            .config;
  EXPECT_EQ(config.scheduler.type, SchedulerType::warmup_cosine);
  EXPECT_NEAR(LearningRate(config.scheduler, config.optimizer.lr).at(7), 0.25, tiny);
}

}  // namespace
}  // namespace fathom::config
