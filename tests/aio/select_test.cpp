// SPDX-License-Identifier: Apache-2.0
#include "select.hpp"

#include <algorithm>
#include <set>
#include <tuple>

#include <gtest/gtest.h>

#include "base/units.hpp"

namespace fathom::aio_bench {
namespace {

Measured measured(std::uint64_t block, unsigned depth, double read, double write,
                  aio::Engine engine = aio::Engine::io_uring) {
  return {{engine, block, depth}, {read}, {write}};
}

TEST(Select, TheMedianIgnoresOneLuckyTrial) {
  EXPECT_DOUBLE_EQ(median({}), 0);
  EXPECT_DOUBLE_EQ(median({3}), 3);
  EXPECT_DOUBLE_EQ(median({100, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(median({4, 1, 2, 100}), 3);
}

TEST(Select, TheScoreIsTheStepsMixOfReadsAndWrites) {
  const Measured even = measured(1 * MiB, 8, 26, 26);
  EXPECT_DOUBLE_EQ(score(even), 1.0);
  const Measured reads{{aio::Engine::posix, 1 * MiB, 1}, {14}, {}};
  EXPECT_DOUBLE_EQ(score(reads), 1.0);
  EXPECT_DOUBLE_EQ(score(Measured{}), 0);
}

TEST(Select, TheCheapestWithinThreePercentOfTheBestWins) {
  const std::vector<Measured> arms = {
      measured(16 * MiB, 4, 100, 100),  // the best
      measured(1 * MiB, 8, 98, 98),     // 2 % slower with an eighth of the memory
      measured(1 * MiB, 1, 96, 96),     // cheaper still, but 4 % slower
  };
  EXPECT_EQ(best(arms), 0U);
  EXPECT_EQ(choose(arms), 1U);
}

TEST(Select, AmongEqualsTheFirstEngineAndTheSmallestDepthWin) {
  const std::vector<Measured> arms = {
      measured(1 * MiB, 8, 100, 100, aio::Engine::posix),
      measured(1 * MiB, 8, 100, 100, aio::Engine::io_uring),
      measured(2 * MiB, 4, 100, 100, aio::Engine::io_uring),
  };
  EXPECT_EQ(choose(arms), 2U);
}

TEST(Select, AnArmWithoutWritesDoesNotWinByDefault) {
  const std::vector<Measured> arms = {
      {{aio::Engine::io_uring, 4096, 1}, {100}, {}},
      measured(1 * MiB, 8, 100, 100),
  };
  EXPECT_EQ(choose(arms), 1U);
  EXPECT_EQ(best(arms), 1U);
}

TEST(Select, WithoutAnyMeasurementNothingIsChosen) {
  EXPECT_FALSE(choose({}).has_value());
  const std::vector<Measured> empty = {{{aio::Engine::posix, 4096, 1}, {}, {}}};
  EXPECT_FALSE(choose(empty).has_value());
}

TEST(Select, TheGridHasNoDoublesAndRespectsMemoryAndTheDevice) {
  const std::vector<aio::Engine> engines = {aio::Engine::io_uring, aio::Engine::posix};
  const auto arms =
      make_grid(engines, [](std::uint64_t, unsigned depth) { return std::min(depth, 20U); });
  std::set<std::tuple<aio::Engine, std::uint64_t, unsigned>> seen;
  for (const Arm& arm : arms) {
    EXPECT_LE(arm.in_flight(), most_in_flight);
    EXPECT_LE(arm.depth, 20U);
    EXPECT_TRUE(seen.emplace(arm.engine, arm.block, arm.depth).second);
  }
  for (const aio::Engine engine : engines)
    EXPECT_TRUE(std::ranges::any_of(arms, [&](const Arm& arm) {
      return arm.engine == engine && arm.block == 1 * MiB && arm.depth == 20;
    }));
}

}  // namespace
}  // namespace fathom::aio_bench
