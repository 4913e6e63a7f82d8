// SPDX-License-Identifier: Apache-2.0
//
// SIGINT, --resume and --steps: an interrupted run goes on as if nothing had happened.
#include <csignal>
#include <filesystem>

#include "program.hpp"

namespace fathom::tools {
namespace {

// Starts the run, interrupts it once `lines` steps stand in its metrics; the step it committed.
std::int64_t interrupt(const Training& run, std::size_t lines, int signal) {
  std::filesystem::create_directories(run.out);
  Process process(command_line(run.arguments()));
  EXPECT_TRUE(process.wait_until(run.out, [&] { return lines_in(run.metrics()) >= lines; }));
  process.send(signal);
  const Outcome done = process.finish();
  EXPECT_EQ(done.code, 3) << done.err;
  EXPECT_NE(done.err.find("--resume"), std::string::npos) << done.err;
  const json state = json::parse(fathom({"inspect", run.out, "--json", "--verify"}).out);
  EXPECT_EQ(state.at("step"), lines_in(run.metrics()));
  EXPECT_EQ(json::parse(read_file(run.out + "/report.json")).at("interrupted"), true);
  return state.at("step");
}

std::vector<json> losses(const Training& run) {
  std::vector<json> values;
  for (const json& line : json_lines(read_file(run.metrics())))
    values.push_back({line.at("step"), line.at("loss"), line.at("lr"), line.at("grad_norm")});
  return values;
}

class Interrupted : public testing::TestWithParam<double> {};

TEST_P(Interrupted, TwiceAndResumedEndsWithTheSameBytes) {
  Training run;
  run.config["gradient_clipping"] = GetParam();
  run.config["scheduler"] = {{"type", "WarmupLR"}, {"params", {{"warmup_num_steps", 50}}}};
  run.more = {"--resume", "--shuffle"};
  run.steps = 1'000'000;
  const std::int64_t first = interrupt(run, 2, SIGINT);
  ASSERT_GE(first, 2);
  const std::int64_t second = interrupt(run, static_cast<std::size_t>(first) + 2, SIGTERM);
  ASSERT_GE(second, first + 2);
  run.steps = static_cast<std::uint64_t>(second) + 2;
  ASSERT_TRUE(succeeded(fathom(run.arguments())));

  Training straight = run;
  straight.out = new_scratch_name("out");
  straight.nvme = run.nvme;
  ASSERT_TRUE(succeeded(fathom(straight.arguments())));
  EXPECT_TRUE(weights_of(run.out) == weights_of(straight.out));
  EXPECT_TRUE(state_of(run.out) == state_of(straight.out));
  EXPECT_EQ(losses(run), losses(straight));
  EXPECT_TRUE(files_in(run.nvme).empty());
}

INSTANTIATE_TEST_SUITE_P(Clipping, Interrupted, testing::Values(0.0, 0.5),
                         [](const auto& tested) { return tested.param == 0 ? "Eager" : "Lazy"; });

TEST(Resume, WithNothingCommittedSaysSoAndStartsAtZero) {
  Training run{.model = small_model(), .steps = 2};
  run.more = {"--resume"};
  const Outcome done = fathom(run.arguments());
  ASSERT_TRUE(succeeded(done));
  EXPECT_NE(done.err.find("nothing is committed in " + run.out), std::string::npos) << done.err;
  EXPECT_EQ(json_lines(read_file(run.metrics())).front().at("step"), 1);

  Training plain{.model = small_model(), .steps = 2};
  ASSERT_TRUE(succeeded(fathom(plain.arguments())));
  EXPECT_TRUE(state_of(run.out) == state_of(plain.out));
}

TEST(Resume, StepsAreTheTotal) {
  Training run{.model = small_model(), .steps = 3};
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  const auto committed = files_in(step_directory(run.out));
  run.more = {"--resume"};
  const Outcome again = fathom(run.arguments());
  ASSERT_TRUE(succeeded(again));
  EXPECT_NE(again.out.find("nothing to do"), std::string::npos) << again.out;
  EXPECT_EQ(lines_in(run.metrics()), 3U);
  EXPECT_TRUE(files_in(step_directory(run.out)) == committed);

  run.steps = 5;
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  EXPECT_EQ(step_directory(run.out), run.out + "/step-00000005");
  const auto lines = json_lines(read_file(run.metrics()));
  ASSERT_EQ(lines.size(), 5U);
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i].at("step"), i + 1);

  Training plain{.model = small_model(), .steps = 5};
  ASSERT_TRUE(succeeded(fathom(plain.arguments())));
  EXPECT_TRUE(state_of(run.out) == state_of(plain.out));
}

TEST(Resume, KeepsTheSeedThatTheRunBeganWith) {
  Training run{.model = small_model(), .steps = 1};
  run.more = {"--seed", "5"};
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  run.steps = 2;
  run.more = {"--resume", "--seed", "6"};
  const Outcome done = fathom(run.arguments());
  ASSERT_TRUE(succeeded(done));
  EXPECT_NE(done.err.find("--seed 5"), std::string::npos) << done.err;
  EXPECT_EQ(json::parse(fathom({"inspect", run.out, "--json"}).out).at("seed"), 5);
}

TEST(Resume, FromAnotherModelOrPrecisionIsRefusedAndChangesNothing) {
  Training run{.model = small_model(), .steps = 1};
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  const auto before = files_in(run.out);
  Training other = run;
  other.steps = 2;
  other.more = {"--resume"};
  other.model = layered_model();
  EXPECT_TRUE(refused(fathom(other.arguments()), 1, {run.out, "units", "resume with the model"}));
  other.model = make_model({.hidden = 96});
  EXPECT_TRUE(refused(fathom(other.arguments()), 1, {run.out, "another size"}));
  other.model = run.model;
  other.config.erase("bf16");
  EXPECT_TRUE(refused(fathom(other.arguments()), 1, {run.out, "precision"}));
  EXPECT_TRUE(files_in(run.out) == before);
}

TEST(Resume, ARunWithoutItReplacesTheCheckpointWithAWarning) {
  Training run{.model = small_model(), .steps = 2};
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  run.steps = 1;
  const Outcome done = fathom(run.arguments());
  ASSERT_TRUE(succeeded(done));
  EXPECT_NE(done.err.find("holds a checkpoint of step 2"), std::string::npos) << done.err;
  EXPECT_EQ(step_directory(run.out), run.out + "/step-00000001");
  EXPECT_FALSE(std::filesystem::exists(run.out + "/step-00000002"));
  EXPECT_EQ(lines_in(run.metrics()), 1U);
}

}  // namespace
}  // namespace fathom::tools
