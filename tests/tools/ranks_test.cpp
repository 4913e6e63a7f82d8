// SPDX-License-Identifier: Apache-2.0
//
// fathom train under mpirun: several ranks train what one does, write one checkpoint, and end
// together.
#include <gtest/gtest.h>

#include "program.hpp"

namespace fathom::tools {
namespace {

Training small_run(const std::string& precision) {
  Training run;
  run.config["train_micro_batch_size_per_gpu"] = 1;
  run.config["gradient_accumulation_steps"] = 2;
  if (precision == "fp32") run.config.erase("bf16");
  run.steps = 4;
  return run;
}

bool has_mpirun() { return ::system("command -v mpirun >/dev/null 2>&1") == 0; }

// The command under mpirun, with so many ranks.
Outcome on_ranks(int ranks, const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {
      "mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
      "-n",     std::to_string(ranks), program()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run(command);
}

TEST(Ranks, TrainTogetherWhatOneTrainsAndLeaveOneCheckpoint) {
  if (!has_mpirun()) GTEST_SKIP() << "mpirun is not installed";
  Training one = small_run("fp32");
  one.config["train_micro_batch_size_per_gpu"] = 2;
  ASSERT_TRUE(succeeded(fathom(one.arguments())));
  Training two = small_run("fp32");
  ASSERT_TRUE(succeeded(on_ranks(2, two.arguments())));
  const auto lines_one = json_lines(read_file(one.metrics())),
             lines_two = json_lines(read_file(two.metrics()));
  ASSERT_EQ(lines_two.size(), 4U) << "one rank writes them";
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_NEAR(lines_two[i]["loss"].get<double>(), lines_one[i]["loss"].get<double>(), 1e-5);
  EXPECT_GT(lines_two[3]["bytes"]["network"], 0);
  EXPECT_EQ(lines_two[3]["bytes"]["network"], lines_two[3]["planned_bytes"]["network"]);
  // It goes on with one rank, and with three.
  two.steps = 5;
  two.more = {"--resume"};
  two.config["train_micro_batch_size_per_gpu"] = 2;
  ASSERT_TRUE(succeeded(fathom(two.arguments())));
  two.steps = 6;
  two.config["train_micro_batch_size_per_gpu"] = 1;
  two.config["gradient_accumulation_steps"] = 1;
  ASSERT_TRUE(succeeded(on_ranks(3, two.arguments())));
  EXPECT_EQ(json_lines(read_file(two.metrics())).size(), 6U);
}

TEST(Ranks, EndTogetherWithTheErrorOfOne) {
  if (!has_mpirun()) GTEST_SKIP() << "mpirun is not installed";
  Training run = small_run("bf16");
  run.config["fathom"]["store"] = "durable";
  const Outcome done = on_ranks(2, run.arguments());
  EXPECT_NE(done.code, 0);
  EXPECT_NE(done.err.find("several ranks"), std::string::npos) << done.err;
}

}  // namespace
}  // namespace fathom::tools
