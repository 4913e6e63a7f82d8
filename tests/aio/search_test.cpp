// SPDX-License-Identifier: Apache-2.0
//
// The pure parts of aio_bench: statistics, the grid, and the search on surfaces with known winners.
#include "search.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/units.hpp"

namespace fathom::aio_bench {
namespace {

TEST(Statistics, MediansQuantilesAndDeviations) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_DOUBLE_EQ(quantile({0, 10, 20, 30, 40}, 0.25), 10);
  EXPECT_DOUBLE_EQ(quantile({0, 10}, 0.9), 9);
  const std::vector<double> values = {1, 1, 2, 2, 4, 6, 9};
  EXPECT_EQ(deviation(values), 1);
  EXPECT_NEAR(variation(std::vector<double>{9, 10, 11}), 0.1, 1e-12);
  EXPECT_EQ(variation(std::vector<double>{5}), 0);
}

TEST(Statistics, DriftIsTheChangeFromFirstToLastWhateverOneValueSays) {
  EXPECT_NEAR(drift(std::vector<double>{100, 101, 102, 103, 104}), 4.0 / 102, 1e-12);
  EXPECT_NEAR(drift(std::vector<double>{100, 101, 400, 103, 104}), 4.0 / 103, 0.001);
  EXPECT_EQ(drift(std::vector<double>{7}), 0);
}

TEST(Statistics, TheIntervalCoversTheTrueMedianAboutAsOftenAsItSays) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal(10, 1);
  int covered = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<double> values(15);
    for (double& value : values) value = normal(random);
    const Interval interval = bootstrap_median(values, 7);
    EXPECT_LE(interval.low, interval.middle);
    EXPECT_LE(interval.middle, interval.high);
    covered += interval.low <= 10 && 10 <= interval.high;
  }
  EXPECT_GT(covered, 270);
  EXPECT_LT(covered, 300);
  const Interval same = bootstrap_median(std::vector<double>{2, 2, 2}, 1);
  EXPECT_EQ(same.low, 2);
  EXPECT_EQ(same.high, 2);
}

TEST(Statistics, ACliffIsWhereWritingFellForGood) {
  EXPECT_EQ(find_cliff(std::vector<double>(20, 5.0)), std::nullopt);
  std::vector<double> rates(20, 5.0);
  std::fill(rates.begin() + 12, rates.end(), 1.5);
  EXPECT_EQ(find_cliff(rates), 12U);
  std::vector<double> dip(20, 5.0);
  dip[9] = 0.5;
  EXPECT_EQ(find_cliff(dip), std::nullopt);
}

TEST(Objective, OverlapsReadsAndWritesByTheDuplexFactor) {
  const Mix mix{.read = 14, .write = 12};
  EXPECT_DOUBLE_EQ(step_seconds({.read = 2, .write = 4}, mix, 0), 7 + 3);
  EXPECT_DOUBLE_EQ(step_seconds({.read = 2, .write = 4}, mix, 0.25), 8);
  EXPECT_DOUBLE_EQ(step_seconds({.read = 2, .write = 4}, mix, 1), 7) << "reads alone take that";
  EXPECT_DOUBLE_EQ(step_seconds({.read = 2, .write = 0}, mix, 0), 7);
  EXPECT_NEAR(duplex_factor({.read = 2.7, .write = 4}, {.read = 1.85, .write = 1.85}), 0.148, 1e-3);
}

TEST(Grid, HoldsEveryMeaningOnceWithinTheLimits) {
  const GridLimits limits{.engine = aio::Engine::libaio,
                          .most_in_flight = 64 * MiB,
                          .operations = [](std::uint64_t block, unsigned wanted) {
                            return std::min<unsigned>(wanted, block > 4 * MiB ? 8 : 128);
                          }};
  const auto grid = make_grid(limits);
  EXPECT_GT(grid.size(), 30U);
  std::map<std::pair<std::uint64_t, unsigned>, int> seen;
  for (const Arm& arm : grid) {
    EXPECT_LE(arm.in_flight(), 64 * MiB);
    EXPECT_LE(arm.operations(), arm.block > 4 * MiB ? 8U : 128U);
    EXPECT_EQ(arm.engine, aio::Engine::libaio);
    EXPECT_EQ(++seen[std::pair(arm.block, arm.operations())], 1);
  }
  EXPECT_EQ(default_arm(limits).block, 1 * MiB);
  EXPECT_EQ(default_arm(limits).depth, 8U);
}

// A surface like a real drive's: throughput rises with bytes in flight and falls slowly beyond, and
// small blocks pay for each operation.
class Surface {
 public:
  Surface(std::uint64_t seed, double noise) : random_(seed), noise_(noise) {
    std::uniform_real_distribution<double> unit(0, 1);
    knee_ = std::exp(std::log(2e6) + unit(random_) * 2);  // bytes in flight at half the rate
    cost_ = 2e4 + unit(random_) * 8e4;                    // bytes that an operation costs
    fall_ = 1e-10 + unit(random_) * 1e-9;
  }
  double rate(const Arm& arm) const {
    const auto flight = static_cast<double>(arm.in_flight()),
               block = static_cast<double>(arm.block);
    const double shape = flight / (flight + knee_) * block / (block + cost_) / (1 + fall_ * flight);
    const double engine = arm.engine == aio::Engine::posix ? 0.97 : 1.0;
    return 3e9 * shape * engine * (arm.single_submit ? 0.96 : 1) * (arm.overlap_events ? 1 : 0.9);
  }
  double true_seconds(const Arm& arm) const {
    return step_seconds({.read = rate(arm), .write = 1.3 * rate(arm)}, Mix{}, 0.15);
  }
  Measure measure() {
    return [this](const Arm& arm) -> Result<Sample> {
      std::normal_distribution<double> normal(0, noise_);
      const Rates rates{rate(arm) * std::exp(normal(random_)),
                        1.3 * rate(arm) * std::exp(normal(random_))};
      return Sample{.seconds = step_seconds(rates, Mix{}, 0.15), .rates = rates};
    };
  }

 private:
  std::mt19937_64 random_;
  double noise_, knee_ = 0, cost_ = 0, fall_ = 0;
};

struct Found {
  Decision decision;
  std::vector<Candidate> rounds;
  double regret = 0;  // of the chosen against the best of everything, as a share
  std::size_t measurements = 0;
  Noise noise;
};

Found search(std::uint64_t seed, double noise) {
  Surface surface(seed, noise);
  const GridLimits limits{.engine = aio::Engine::io_uring};
  const auto grid = make_grid(limits);
  const Arm control = default_arm(limits);
  const std::vector<aio::Engine> engines = {aio::Engine::io_uring, aio::Engine::posix};
  Found found;
  std::vector<double> quiet;
  const Measure measure = surface.measure();
  for (int i = 0; i < 10; ++i) quiet.push_back(measure(control)->seconds);
  found.noise = assess(quiet);
  const auto halving = halve(grid, control, engines, measure, {.seed = seed});
  std::vector<Arm> finalists;
  for (const std::size_t i : halving->finalists) finalists.push_back(halving->all[i].arm);
  found.rounds = *pair_up(finalists, control, measure, 10, seed);
  found.decision = decide(found.rounds, found.noise, seed);
  found.measurements = halving->measurements + 10 * found.rounds.size();
  double best = surface.true_seconds(control);
  for (const Arm& arm : grid) best = std::min(best, surface.true_seconds(arm));
  found.regret = surface.true_seconds(found.rounds[found.decision.chosen].arm) / best - 1;
  return found;
}

TEST(Search, OnAQuietMachineTheChoiceIsCloseToTheBest) {
  std::vector<double> regrets;
  std::size_t noisy = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    const Found found = search(seed, 0.04);
    regrets.push_back(found.regret);
    noisy += found.decision.noisy;
    EXPECT_LT(found.measurements, 350U);
  }
  double sum = 0;
  for (const double regret : regrets) sum += regret;
  const double mean = sum / static_cast<double>(regrets.size()), p95 = quantile(regrets, 0.95);
  RecordProperty("mean_regret", std::to_string(mean));
  RecordProperty("p95_regret", std::to_string(p95));
  EXPECT_LE(mean, 0.012);
  EXPECT_LE(p95, 0.035);
  EXPECT_EQ(noisy, 0U);
}

TEST(Search, OnANoisyMachineTheResultSaysSo) {
  std::size_t noisy = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const Found found = search(seed, 0.22);
    noisy += found.decision.noisy;
    if (found.decision.noisy) {
      EXPECT_GT(found.decision.claimed, 0.05);
    }
  }
  EXPECT_GE(noisy, 57U) << "of 60";
}

TEST(Search, KeepsTheDefaultWhereNothingIsBetter) {
  // All arms alike: whatever is picked instead of the default would be picked by chance.
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal(1, 0.03);
  const Measure measure = [&](const Arm&) -> Result<Sample> {
    return Sample{.seconds = normal(random), .rates = {1e9, 1e9}};
  };
  const GridLimits limits{.engine = aio::Engine::io_uring};
  const Arm control = default_arm(limits);
  const auto halving = halve(make_grid(limits), control, {aio::Engine::io_uring}, measure, {});
  std::vector<Arm> finalists;
  for (const std::size_t i : halving->finalists) finalists.push_back(halving->all[i].arm);
  const auto rounds = pair_up(finalists, control, measure, 10, 1);
  const Decision decision = decide(*rounds, Noise{.trials = 10}, 1);
  EXPECT_TRUE(decision.keeps_default);
  EXPECT_EQ((*rounds)[decision.chosen].arm, control);
}

TEST(Search, PrefersTheCheapestOfEquals) {
  const Arm control{.engine = aio::Engine::io_uring, .block = 1 * MiB, .depth = 8};
  const Arm small{.engine = aio::Engine::io_uring, .block = 512 * KiB, .depth = 16};
  const Arm large{.engine = aio::Engine::io_uring, .block = 8 * MiB, .depth = 8};
  const Measure measure = [&](const Arm& arm) -> Result<Sample> {
    return Sample{.seconds = arm == control ? 1.2 : arm == small ? 1.01 : 1.0, .rates = {1e9, 1e9}};
  };
  const auto rounds = pair_up(std::vector<Arm>{large, small}, control, measure, 10, 1);
  const Decision decision = decide(*rounds, Noise{.trials = 10}, 1);
  EXPECT_EQ((*rounds)[decision.best].arm, large);
  EXPECT_EQ((*rounds)[decision.chosen].arm, small) << "1 % slower, an eighth of the memory";
}

TEST(Search, OutOfTimeTheDecidingRoundsAreFewerButNeverTooFew) {
  const Arm control{.engine = aio::Engine::posix}, other{.engine = aio::Engine::posix, .depth = 4};
  const Measure measure = [](const Arm&) -> Result<Sample> { return Sample{.seconds = 1}; };
  const auto cut = pair_up(std::vector<Arm>{other}, control, measure, 10, 1, [] { return true; });
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->front().ratios.size(), least_rounds);
  const auto whole =
      pair_up(std::vector<Arm>{other}, control, measure, 10, 1, [] { return false; });
  EXPECT_EQ(whole->front().ratios.size(), 10U);
}

TEST(Search, AnErrorOfAMeasurementEndsIt) {
  int left = 20;
  const Measure measure = [&](const Arm&) -> Result<Sample> {
    if (--left == 0) return fail(Error(Errc::interrupted, "measure"));
    return Sample{.seconds = 1};
  };
  const GridLimits limits{.engine = aio::Engine::posix};
  const auto halving =
      halve(make_grid(limits), default_arm(limits), {aio::Engine::posix}, measure, {});
  ASSERT_FALSE(halving);
  EXPECT_EQ(halving.error().code(), Errc::interrupted);
}

}  // namespace
}  // namespace fathom::aio_bench
