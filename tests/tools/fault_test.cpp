// SPDX-License-Identifier: Apache-2.0
//
// Disks that fail in mid-step, kill -9 at bad moments, runs beside each other.
#include <csignal>
#include <filesystem>

#include <sys/resource.h>

#include "program.hpp"

namespace fathom::tools {
namespace {

namespace fs = std::filesystem;

// Runs two steps to a checkpoint, then on until five lines stand in the metrics, and calls `fault`.
class MidStep : public testing::TestWithParam<std::string> {
 protected:
  void break_in_mid_step(Training& run, const std::function<void(Process&)>& fault,
                         const std::vector<std::string>& says) {
    run.config["fathom"]["engine"] = GetParam();
    run.steps = 2;
    ASSERT_TRUE(succeeded(fathom(run.arguments())));
    const auto committed = files_in(step_directory(run.out));
    run.steps = 1'000'000;
    run.more = {"--resume"};
    Process process(command_line(run.arguments()));
    ASSERT_TRUE(process.wait_until(run.out, [&] { return lines_in(run.metrics()) >= 5; }));
    fault(process);
    const Outcome failed = process.finish();
    EXPECT_FALSE(failed.hung);
    EXPECT_TRUE(refused(failed, 1, says));
    EXPECT_EQ(step_directory(run.out), run.out + "/step-00000002");
    EXPECT_TRUE(files_in(step_directory(run.out)) == committed);
  }
  bool works() {
    const auto& engines = working_engines();
    return std::find(engines.begin(), engines.end(), GetParam()) != engines.end();
  }
};

TEST_P(MidStep, AWriteThatFailsEndsTheRunAndKeepsTheCheckpoint) {
  Training run;
  if (!works()) GTEST_SKIP() << GetParam() << " does not work here";
  // From here on no byte beyond 64 KiB of a file may be written: the store's writes fail.
  const auto limit_files = [](Process& process) {
    const struct rlimit limit{64 << 10, 64 << 10};
    ASSERT_EQ(::prlimit(process.pid(), RLIMIT_FSIZE, &limit, nullptr), 0);
  };
  break_in_mid_step(run, limit_files, {run.nvme, "unit ", "section ", "write", "errno 27"});
  EXPECT_TRUE(files_in(run.nvme).empty());
  // With the disk whole again the run goes on.
  run.steps = 3;
  EXPECT_TRUE(succeeded(fathom(run.arguments())));
  EXPECT_EQ(step_directory(run.out), run.out + "/step-00000003");
}

TEST_P(MidStep, ADiskThatDiesEndsTheRunAndKeepsTheCheckpoint) {
  const auto mount = Mount::ext4(64 << 20);
  FATHOM_NEEDS_MOUNT(mount);
  Training run;
  run.nvme = mount->path();
  run.config = ds_config(run.nvme);
  run.config["fathom"]["host_memory"] = "7MiB";
  if (!works()) GTEST_SKIP() << GetParam() << " does not work here";
  break_in_mid_step(run, [&](Process&) { mount->shut_down(); },
                    {run.nvme, "unit ", "section ", "errno 5", "dmesg"});
}

INSTANTIATE_TEST_SUITE_P(Engines, MidStep, testing::Values("io_uring", "libaio", "posix"),
                         [](const auto& tested) { return tested.param; });

TEST(Killed, InMidStepLeavesNothingOnNvmeAndTheCheckpointInOut) {
  Training run;
  run.steps = 2;
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  const auto committed = files_in(step_directory(run.out));
  run.steps = 1'000'000;
  run.more = {"--resume"};
  Process process(command_line(run.arguments()));
  ASSERT_TRUE(process.wait_until(run.out, [&] { return lines_in(run.metrics()) >= 4; }));
  process.send(SIGKILL);
  EXPECT_EQ(process.finish().signal, SIGKILL);
  EXPECT_TRUE(files_in(run.nvme).empty());
  EXPECT_TRUE(files_in(step_directory(run.out)) == committed);

  run.steps = 5;
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  Training straight;
  straight.steps = 5;
  ASSERT_TRUE(succeeded(fathom(straight.arguments())));
  EXPECT_TRUE(state_of(run.out) == state_of(straight.out));
}

TEST(Killed, WhileItCommitsLeavesOneWholeCheckpoint) {
  Training run;
  run.steps = 1;
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  run.more = {"--resume"};
  for (std::uint64_t step = 2; step <= 4; ++step) {
    run.steps = step;
    Process process(command_line(run.arguments()));
    const auto committing = [&] {
      for (const auto& entry : fs::directory_iterator(run.out))
        if (entry.path().string().ends_with(".partial")) return true;
      return false;
    };
    process.wait_until(run.out, committing);
    process.send(SIGKILL);
    process.finish();
    const Outcome state = fathom({"inspect", run.out, "--json", "--verify"});
    ASSERT_TRUE(succeeded(state));
    EXPECT_LE(json::parse(state.out).at("step"), step);
  }
  run.steps = 5;
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  EXPECT_TRUE(files_in(run.nvme).empty());
  // What the killed runs left in --out is gone, and the weights are those of an unbroken run.
  for (const auto& entry : fs::directory_iterator(run.out))
    EXPECT_FALSE(entry.path().string().ends_with(".partial")) << entry.path();
  Training straight;
  straight.steps = 5;
  ASSERT_TRUE(succeeded(fathom(straight.arguments())));
  EXPECT_TRUE(state_of(run.out) == state_of(straight.out));
}

TEST(Beside, TwoRunsInOneDirectoryDoNotDisturbEachOther) {
  Training first, second;
  second.nvme = first.nvme;
  second.config = ds_config(first.nvme);
  first.steps = second.steps = 6;
  first.more = {"--seed", "1"};
  second.more = {"--seed", "2"};
  {
    Process a(command_line(first.arguments())), b(command_line(second.arguments()));
    EXPECT_TRUE(succeeded(a.finish()));
    EXPECT_TRUE(succeeded(b.finish()));
  }
  EXPECT_TRUE(files_in(first.nvme).empty());
  for (Training* run : {&first, &second}) {
    const auto beside = state_of(run->out);
    run->out = new_scratch_name("out");
    ASSERT_TRUE(succeeded(fathom(run->arguments())));
    EXPECT_TRUE(state_of(run->out) == beside);
  }
}

}  // namespace
}  // namespace fathom::tools
