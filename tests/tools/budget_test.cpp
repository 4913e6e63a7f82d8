// SPDX-License-Identifier: Apache-2.0
//
// Memory: budgets are promises, plans allocate nothing, what can't fit is refused before it is
// tried.
#include "program.hpp"

namespace fathom::tools {
namespace {

constexpr std::uint64_t MiB = 1 << 20;

// What every process of the program needs: LibTorch and its libraries.
std::uint64_t bare_resident() {
  static const std::uint64_t bytes = fathom({"--version"}).peak_resident;
  return bytes;
}

TEST(Budget, TooSmallNamesTheSmallestWhichWorks) {
  for (const double clipping : {0.0, 1.0}) {
    Training run;
    run.steps = 2;
    run.config["gradient_clipping"] = clipping;
    run.config["fathom"]["host_memory"] = "2MiB";
    const Outcome small = fathom(run.arguments());
    ASSERT_TRUE(
        refused(small, 2, {"host memory 2.00 MiB", "the smallest that works", "host_memory"}));
    EXPECT_TRUE(left_nothing(run));
    EXPECT_LT(small.peak_resident, bare_resident() + 16 * MiB) << "refused before allocating";

    const auto at = small.err.rfind(" bytes)");
    const auto open = small.err.rfind('(', at);
    const std::uint64_t smallest = std::stoull(small.err.substr(open + 1, at - open - 1));
    run.config["fathom"]["host_memory"] = smallest - 1;
    EXPECT_TRUE(refused(fathom(run.arguments()), 2, {std::to_string(smallest)}));
    run.config["fathom"]["host_memory"] = smallest;
    run.more = {"--json"};
    const Outcome done = fathom(run.arguments());
    ASSERT_TRUE(succeeded(done));
    EXPECT_EQ(json::parse(done.out).at("plan").at("smallest_host_memory"), smallest);
  }
}

TEST(Budget, ThatGradientsAloneExceedNamesClipping) {
  Training run;
  run.config["gradient_clipping"] = 1.0;
  run.config["fathom"]["host_memory"] = "1MiB";  // 952 k gradients of 2 bytes
  EXPECT_TRUE(refused(fathom(run.arguments()), 2, {"gradient_clipping", "1.82 MiB"}));
}

TEST(Budget, APlanAllocatesNothing) {
  Training run;
  ASSERT_TRUE(succeeded(fathom(run.plan_arguments())));
  const Outcome planned = fathom(run.plan_arguments());
  ASSERT_TRUE(succeeded(planned));
  EXPECT_TRUE(left_nothing(run));
  EXPECT_LT(planned.peak_resident, bare_resident() + 16 * MiB);
}

TEST(Budget, APlanIsMadeForMachinesThatAreNotHere) {
  // 70 billion parameters: 840 GB of states.
  Training run{.model = make_model({.hidden = 8192,
                                    .intermediate = 28672,
                                    .layers = 80,
                                    .vocabulary = 128256,
                                    .positions = 4096})};
  run.data = scratch_file("long.txt", std::string(8192, 'a'));
  run.length = 2048;
  run.config["fathom"]["host_memory"] = "100TiB";
  // The first one may have to measure the machine, in memory beyond its caches.
  ASSERT_TRUE(succeeded(fathom(run.plan_arguments())));
  const Outcome planned = fathom(run.plan_arguments());
  ASSERT_TRUE(succeeded(planned));
  EXPECT_LT(planned.peak_resident, bare_resident() + 64 * MiB);
  const json plan = json::parse(planned.out);
  EXPECT_GT(plan.at("parameters"), 60'000'000'000U);
  EXPECT_FALSE(plan.at("shortfalls").empty());
  EXPECT_TRUE(refused(fathom(run.arguments()), 2, {"host memory: need", "have"}));
  EXPECT_TRUE(left_nothing(run));
}

// The program's own share grows while it runs: code of LibTorch that is touched first in a step,
// its scratch for matrix products, thread stacks. Measured on x86-64 with LibTorch 2.11, whatever
// the budget: 34 to 37 MiB beyond what was resident before the arena was allocated.
constexpr std::uint64_t own_growth = 48 * MiB;

TEST(Budget, ThePeakStaysWithinTwoPercentOfIt) {
  // 84 MiB of states, so that a run that kept them all would show.
  Training run{
      .model = make_model({.hidden = 256, .intermediate = 704, .layers = 8, .vocabulary = 2048}),
      .steps = 3,
      .length = 128};
  run.config["fathom"]["host_memory"] = "1GiB";
  const std::uint64_t smallest = smallest_host_memory(run);
  for (const std::uint64_t budget : {smallest, smallest + 8 * MiB}) {
    run.config["fathom"]["host_memory"] = budget;
    run.out = new_scratch_name("out");
    run.more = {"--json"};
    const Outcome done = fathom(run.arguments());
    ASSERT_TRUE(succeeded(done));
    const json report = json::parse(done.out), peak = report.at("peak");
    EXPECT_GT(report.at("bytes_measured").at("nvme_read"), 0U);
    EXPECT_LE(peak.at("host"), budget);
    EXPECT_LE(report.at("plan").at("peak").at("host"), budget);
    const std::uint64_t before = peak.at("resident_set_before");
    EXPECT_LE(done.peak_resident - before, budget + budget / 50 + own_growth)
        << "budget " << budget << ", before " << before << ", peak " << done.peak_resident;
    RecordProperty("own_growth_at_" + std::to_string(budget),
                   std::to_string(done.peak_resident - before - budget));
  }
}

}  // namespace
}  // namespace fathom::tools
