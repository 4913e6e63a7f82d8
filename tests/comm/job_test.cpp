// SPDX-License-Identifier: Apache-2.0
//
// Jobs of processes that end badly: every rank ends, and says which rank is to blame. Nothing here
// measures time: a job that does not end is killed by the harness and fails.
#include <cstdlib>
#include <regex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tools/process.hpp"

namespace fathom::comm {
namespace {

using tools::Outcome;

class Job : public testing::Test {
 protected:
  void SetUp() override {
    if (const char* reason = std::getenv("FATHOM_NO_MPI_REASON"); reason != nullptr)
      GTEST_SKIP() << reason;
  }

  // `recover`: mpirun leaves the other ranks alone when one dies, so that they have to notice.
  static Outcome run(const std::string& ending, bool recover = false, int ranks = 3) {
    std::vector<std::string> command{std::getenv("FATHOM_MPIRUN"), "--allow-run-as-root",
                                     "--oversubscribe"};
    if (recover) command.emplace_back("--enable-recovery");
    command.insert(command.end(),
                   {"-n", std::to_string(ranks), std::getenv("FATHOM_RANK_JOB"), ending});
    return tools::run(command);
  }

  // How many times `pattern` is in `text`.
  static std::ptrdiff_t times(const std::string& text, const std::string& pattern) {
    const std::regex expression(pattern);
    return std::distance(std::sregex_iterator(text.begin(), text.end(), expression),
                         std::sregex_iterator());
  }
};

TEST_F(Job, EndsWell) {
  const Outcome done = run("well");
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(times(done.err, "ended:|stops:"), 0) << done.err;
}

TEST_F(Job, EveryRankPrintsTheErrorOfTheOneThatFails) {
  const Outcome done = run("fail");
  EXPECT_FALSE(done.hung);
  EXPECT_NE(done.code, 0);
  for (const char* rank : {"0", "1", "2"})
    EXPECT_EQ(
        times(done.err, std::string("rank ") + rank + " stops: write: rank 2, /mnt/x: disk full"),
        1)
        << done.err;
}

TEST_F(Job, AStalledRankIsNamedAndEndsToo) {
  const Outcome done = run("stall", /*recover=*/true);
  EXPECT_FALSE(done.hung);
  for (const char* rank : {"0", "1", "2"})
    EXPECT_EQ(
        times(done.err, std::string("rank ") + rank +
                            " stops: all_reduce \\(sum\\) of 1 fp32: collective 5 of 3 ranks: "
                            "rank 2 did not arrive within 1.5 s"),
        1)
        << done.err;
  EXPECT_EQ(times(done.err, "rank 2 did not stop within 2 s"), 1) << done.err;
}

TEST_F(Job, AKilledRankIsNamedByTheOthers) {
  const Outcome done = run("die", /*recover=*/true);
  EXPECT_FALSE(done.hung);
  // Silence or the collective that it misses, whichever comes first: both name it.
  for (const char* rank : {"0", "1"})
    EXPECT_EQ(times(done.err, std::string("rank ") + rank + " stops: .*rank 2"), 1) << done.err;
  EXPECT_EQ(times(done.err, "ended: .*rank 2"), 2) << done.err;
}

TEST_F(Job, AKilledRank0IsNamedByTheOthers) {
  const Outcome done = run("die_first", /*recover=*/true);
  EXPECT_FALSE(done.hung);
  for (const char* rank : {"1", "2"})
    EXPECT_EQ(times(done.err, std::string("rank ") + rank + " stops: .*rank 0"), 1) << done.err;
  EXPECT_EQ(times(done.err, "ended: .*rank 0"), 2) << done.err;
}

TEST_F(Job, AStoppedRank0IsNamedByTheOthers) {
  const Outcome done = run("stop_first");
  EXPECT_FALSE(done.hung);
  EXPECT_NE(done.code, 0);
  EXPECT_GE(times(done.err, "rank [12] stops: .*rank 0"), 1) << done.err;
}

TEST_F(Job, MpirunEndsAllWhenARankIsKilled) {
  const Outcome done = run("die");
  EXPECT_FALSE(done.hung);
  EXPECT_NE(done.code, 0);
  EXPECT_GE(times(done.err, "rank 2"), 1) << done.err;
}

TEST_F(Job, ARankThatEndsEarlyIsNamed) {
  const Outcome done = run("leave");
  EXPECT_FALSE(done.hung);
  EXPECT_NE(done.code, 0);
  for (const char* rank : {"0", "1"})
    EXPECT_EQ(
        times(done.err, std::string("rank ") + rank +
                            " stops: .*rank 2: it ended after collective 4 while others are at 5"),
        1)
        << done.err;
}

}  // namespace
}  // namespace fathom::comm
