// SPDX-License-Identifier: Apache-2.0
//
// Sequences of overflows and the scale after each step, worked out by hand from the published rule.
#include "config/loss_scale.hpp"

#include "config/gradient_scaling.hpp"
#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

PrecisionConfig fp16(LossScaleConfig scale) {
  return {.compute = Precision::fp16, .loss_scale = scale};
}

// 'o' is an overflow, '.' a clean step; `scales` are those after each.
void expect_scales(LossScale scale, std::string_view steps, const std::vector<double>& scales) {
  ASSERT_EQ(steps.size(), scales.size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    ASSERT_TRUE(scale.update(steps[i] == 'o')) << "step " << i;
    EXPECT_EQ(scale.scale(), scales[i]) << "after step " << i << " of " << steps;
  }
}

TEST(LossScale, IsOneWithoutFp16) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    LossScale scale(PrecisionConfig{.compute = precision});
    EXPECT_EQ(scale.scale(), 1);
    EXPECT_TRUE(scale.update(true));
    EXPECT_EQ(scale.scale(), 1);
  }
}

TEST(LossScale, BeginsAtTheInitialPower) {
  EXPECT_EQ(LossScale(fp16({})).scale(), 65536);
  EXPECT_EQ(LossScale(fp16({.initial_scale_power = 0})).scale(), 1);
  EXPECT_EQ(LossScale(fp16({.initial_scale_power = 32})).scale(), 4294967296.0);
}

TEST(LossScale, AStaticOneNeverMoves) {
  LossScale scale(fp16({.loss_scale = 138}));
  EXPECT_FALSE(scale.is_dynamic());
  for (int i = 0; i < 3000; ++i) ASSERT_TRUE(scale.update(i % 3 == 0));
  EXPECT_EQ(scale.scale(), 138);
}

TEST(LossScale, DoublesAfterEachWindowWithoutOverflow) {
  // stable = iteration: the window of 2 is full at iterations 2, 4, 6, …
  expect_scales(LossScale(fp16({.initial_scale_power = 8, .window = 2})), ".........",
                {256, 256, 512, 512, 1024, 1024, 2048, 2048, 4096});
  expect_scales(LossScale(fp16({.initial_scale_power = 3, .window = 1})), "....", {8, 16, 32, 64});
}

TEST(LossScale, HalvesAtEveryOverflowWithAHysteresisOfOne) {
  expect_scales(LossScale(fp16({.initial_scale_power = 4, .window = 2, .hysteresis = 1})), "oooo",
                {8, 4, 2, 1});
}

TEST(LossScale, ToleratesAsManyOverflowsAsTheHysteresisLeaves) {
  // A remainder of 2 becomes 1 at the first overflow; from then on each one halves.
  expect_scales(LossScale(fp16({.initial_scale_power = 4})), "oooo", {16, 8, 4, 2});
  expect_scales(LossScale(fp16({.initial_scale_power = 4, .hysteresis = 4})), "ooooo",
                {16, 16, 16, 8, 4});
}

TEST(LossScale, RefillsTheHysteresisWithTheDoublingOnly) {
  // The clean steps between do not refill it: the second overflow halves.
  expect_scales(LossScale(fp16({.initial_scale_power = 4, .window = 100})), "o..o..o",
                {16, 16, 16, 8, 8, 8, 4});
  // A full window does: after the doubling the next overflow is tolerated again.
  expect_scales(LossScale(fp16({.initial_scale_power = 4, .window = 2})), "o...oo",
                {16, 16, 16, 32, 32, 16});
}

TEST(LossScale, ConsecutiveHysteresisRefillsOnEveryCleanStep) {
  expect_scales(
      LossScale(fp16({.initial_scale_power = 4, .window = 100, .consecutive_hysteresis = true})),
      "o.o.oo.", {16, 16, 16, 16, 16, 8, 8});
}

TEST(LossScale, CountsTheWindowFromTheLastOverflow) {
  // Overflow at 1: stable is 1 at iteration 3, 2 at 4, 3 at 5: the window of 3 is full there.
  expect_scales(LossScale(fp16({.initial_scale_power = 6, .window = 3, .hysteresis = 1})),
                ".o.....", {64, 32, 32, 32, 32, 64, 64});
}

TEST(LossScale, SomeOverflowsAmongCleanSteps) {
  // 256 doubles at 2; an overflow at 3 and 4; stable 2 at 7 doubles again.
  expect_scales(LossScale(fp16({.initial_scale_power = 8, .window = 2, .hysteresis = 1})),
                "...oo....", {256, 256, 512, 256, 128, 128, 128, 256, 256});
}

TEST(LossScale, SaysWhenItOverflowsAtItsFloor) {
  LossScale scale(fp16({.initial_scale_power = 3, .hysteresis = 1, .min_loss_scale = 4}));
  EXPECT_TRUE(scale.update(true));
  EXPECT_EQ(scale.scale(), 4);
  EXPECT_FALSE(scale.update(true));
  EXPECT_EQ(scale.scale(), 4);
}

TEST(LossScale, TheFloorAlsoWaitsForTheHysteresis) {
  LossScale scale(fp16({.initial_scale_power = 0, .hysteresis = 3}));
  EXPECT_TRUE(scale.update(true));
  EXPECT_TRUE(scale.update(true));
  EXPECT_FALSE(scale.update(true));
}

TEST(LossScale, AFloorBetweenPowersOfTwoIsKept) {
  expect_scales(LossScale(fp16({.initial_scale_power = 4, .hysteresis = 1, .min_loss_scale = 5})),
                "oo", {8, 5});
}

TEST(LossScale, GoesOnFromItsStateAsIfNothingHadHappened) {
  const PrecisionConfig config = fp16({.initial_scale_power = 5, .window = 3});
  const std::string_view steps = "..o....oo...o...";
  LossScale whole(config);
  for (std::size_t cut = 0; cut < steps.size(); ++cut) {
    LossScale first(config);
    for (std::size_t i = 0; i < cut; ++i) ASSERT_TRUE(first.update(steps[i] == 'o'));
    LossScale second(config);
    second.resume(first.state());
    LossScale reference = first;
    for (std::size_t i = cut; i < steps.size(); ++i) {
      ASSERT_TRUE(second.update(steps[i] == 'o'));
      ASSERT_TRUE(reference.update(steps[i] == 'o'));
      ASSERT_TRUE(second.state() == reference.state());
    }
  }
}

TEST(GradientScaling, MakesTheMeanWhateverIsDividedFirst) {
  const auto factors = [](bool prescale, double predivide, ReduceOp op, std::uint64_t ranks) {
    return gradient_scaling(
        {.dtype = {}, .op = op, .prescale_gradients = prescale, .predivide_factor = predivide},
        ranks);
  };
  EXPECT_EQ(factors(false, 1, ReduceOp::mean, 8).before, 1);
  EXPECT_EQ(factors(false, 1, ReduceOp::mean, 8).after, 1.0 / 8);
  EXPECT_EQ(factors(false, 2, ReduceOp::mean, 8).before, 1.0 / 2);
  EXPECT_EQ(factors(false, 2, ReduceOp::mean, 8).after, 2.0 / 8);
  EXPECT_EQ(factors(true, 2, ReduceOp::mean, 8).before, 1.0 / 8);
  EXPECT_EQ(factors(true, 2, ReduceOp::mean, 8).after, 1);
  for (const bool prescale : {false, true}) {
    EXPECT_EQ(factors(prescale, 4, ReduceOp::sum, 8).before, 1);
    EXPECT_EQ(factors(prescale, 4, ReduceOp::sum, 8).after, 1);
    EXPECT_EQ(factors(prescale, 4, ReduceOp::mean, 1).before, 1);
    EXPECT_EQ(factors(prescale, 4, ReduceOp::mean, 1).after, 1);
  }
}

}  // namespace
}  // namespace fathom::config
