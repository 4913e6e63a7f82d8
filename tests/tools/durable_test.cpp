// SPDX-License-Identifier: Apache-2.0
//
// The durable store from outside: killed, resumed, exported, inspected, cleaned up.
#include <csignal>
#include <filesystem>

#include <sys/stat.h>

#include "program.hpp"

namespace fathom::tools {
namespace {

namespace fs = std::filesystem;

Training durable_run() {
  Training run{.steps = 4};
  run.config["fathom"]["store"] = "durable";
  return run;
}

json inspected(const std::string& path, const Arguments& more = {}) {
  const Outcome done = fathom(Arguments{"inspect", path, "--json"} + more);
  EXPECT_TRUE(succeeded(done));
  return json::parse(done.out, nullptr, false);
}

std::vector<std::string> jobs_in(const std::string& nvme) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(nvme))
    if (entry.path().filename() != "lost+found") names.push_back(entry.path().string());
  return names;
}

class DurableRun : public testing::TestWithParam<double> {};

TEST_P(DurableRun, LeavesAReferenceNotACopyAndTheWeightsOfAScratchRun) {
  Training run = durable_run();
  run.config["gradient_clipping"] = GetParam();
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  EXPECT_TRUE(fs::exists(run.out + "/store.json"));
  EXPECT_FALSE(fs::exists(run.out + "/latest"));
  ASSERT_EQ(jobs_in(run.nvme).size(), 1U);

  Training scratch = run;
  scratch.out = new_scratch_name("out");
  scratch.config["fathom"]["store"] = "scratch";
  ASSERT_TRUE(succeeded(fathom(scratch.arguments())));
  EXPECT_TRUE(weights_of(run.out) == weights_of(scratch.out));

  const json document = inspected(run.out, {"--verify"});
  EXPECT_EQ(document.at("step"), 4);
  EXPECT_EQ(document.at("store"), "durable");
  EXPECT_EQ(document.at("parameters"), inspected(scratch.out).at("parameters"));
  std::uint64_t live = 0, other = 0;
  for (const json& extent : document.at("extents")) {
    (extent.at("live").get<bool>() ? live : other) += extent.at("bytes").get<std::uint64_t>();
    EXPECT_EQ(extent.at("path").get<std::string>().rfind(run.nvme, 0), 0U);
  }
  EXPECT_EQ(live, other) << "two slots of everything";
  EXPECT_EQ(live, document.at("bytes"));
  // The store's own directory is as good as the run's.
  EXPECT_EQ(inspected(jobs_in(run.nvme)[0], {"--verify"}).at("step"), 4);

  run.steps = 6;
  run.more = {"--resume"};
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  scratch.steps = 6;
  scratch.more = {"--resume"};
  ASSERT_TRUE(succeeded(fathom(scratch.arguments())));
  EXPECT_TRUE(weights_of(run.out) == weights_of(scratch.out));
  EXPECT_EQ(jobs_in(run.nvme).size(), 1U) << "it went on in its store";
}

INSTANTIATE_TEST_SUITE_P(Clipping, DurableRun, testing::Values(0.0, 0.5),
                         [](const auto& tested) { return tested.param == 0 ? "Eager" : "Lazy"; });

TEST(Durable, EndsWithTheSameBitsHoweverOftenItIsKilled) {
  const Outcome done = run({"/usr/bin/env", "python3", FATHOM_SOURCE_ROOT "/tests/faults/kill_loop",
                            "--program", program(), "--count", "6", "--steps", "6"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_NE(done.out.find("6 of 6 kills"), std::string::npos) << done.out;
}

TEST(Durable, GoesOnInItsStoreWithAnotherMemoryBudget) {
  Training run = durable_run();
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  run.steps = 6;
  run.more = {"--resume"};
  run.config["fathom"]["host_memory"] = "1GiB";  // everything is pinned now
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  EXPECT_EQ(jobs_in(run.nvme).size(), 1U);
  Training straight = durable_run();
  straight.steps = 6;
  ASSERT_TRUE(succeeded(fathom(straight.arguments())));
  EXPECT_TRUE(weights_of(run.out) == weights_of(straight.out));
}

TEST(Durable, TakesItsStepAlongWhenTheModeChanges) {
  Training run = durable_run();
  run.steps = 2;
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  run.more = {"--resume"};
  run.steps = 3;
  run.config["fathom"]["store"] = "scratch";
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  EXPECT_FALSE(fs::exists(run.out + "/store.json"));
  EXPECT_EQ(inspected(run.out, {"--verify"}).at("step"), 3);
  // The store that nothing refers to any more is the one thing that may be removed.
  const json cleaned = inspected(run.nvme, {"--gc"});
  ASSERT_EQ(cleaned.at("jobs").size(), 1U);
  EXPECT_EQ(cleaned.at("jobs")[0].at("kind"), "stale");
  EXPECT_EQ(cleaned.at("jobs")[0].at("removed"), true);
  EXPECT_TRUE(jobs_in(run.nvme).empty());

  run.steps = 4;
  run.config["fathom"]["store"] = "durable";
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  EXPECT_FALSE(fs::exists(run.out + "/latest"));
  Training straight = durable_run();
  ASSERT_TRUE(succeeded(fathom(straight.arguments())));
  EXPECT_TRUE(weights_of(run.out) == weights_of(straight.out));
  const json kept = inspected(run.nvme, {"--gc"});
  EXPECT_EQ(kept.at("jobs")[0].at("kind"), "kept") << "--resume needs it";
  EXPECT_EQ(jobs_in(run.nvme).size(), 1U);
}

TEST(Durable, IsOneProcessAtATime) {
  Training run = durable_run();
  run.steps = 1'000'000;
  fs::create_directories(run.out);
  Process process(command_line(run.arguments()));
  ASSERT_TRUE(process.wait_until(run.out, [&] { return lines_in(run.metrics()) >= 2; }));
  Training second = run;
  second.more = {"--resume"};
  const Outcome refused_run = fathom(second.arguments());
  EXPECT_TRUE(refused(refused_run, 1, {"process " + std::to_string(process.pid()), run.nvme}));
  EXPECT_TRUE(refused(fathom({"export", run.out, new_scratch_name("hf")}), 1, {"is using it"}));
  EXPECT_EQ(inspected(run.nvme, {"--gc"}).at("jobs")[0].at("kind"), "live");
  EXPECT_GE(inspected(run.out).at("step"), 0) << "a look does no harm";
  process.send(SIGINT);
  EXPECT_EQ(process.finish().code, 3);
  EXPECT_EQ(inspected(run.out, {"--verify"}).at("step"), lines_in(run.metrics()));
}

TEST(Durable, NamesADamagedBlockAndTrainsOnNone) {
  Training run = durable_run();
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  const json document = inspected(run.out);
  const json& extent = document.at("extents")[document.at("extents").size() / 4];
  ASSERT_EQ(extent.at("live"), true);
  flip(extent.at("path"), extent.at("offset").get<std::uint64_t>() + 11);
  const std::vector<std::string> place = {
      "unit " + extent.at("unit").get<std::string>(),
      "section " + extent.at("section").get<std::string>(), extent.at("path"),
      "offset " + std::to_string(extent.at("offset").get<std::uint64_t>())};
  const Outcome checked = fathom({"inspect", run.out, "--verify"});
  EXPECT_EQ(checked.code, 1);
  for (const std::string& part : place)
    EXPECT_NE(checked.err.find(part), std::string::npos) << part;
  run.steps = 6;
  run.more = {"--resume"};
  EXPECT_EQ(fathom(run.arguments()).code, 1);
  flip(extent.at("path"), extent.at("offset").get<std::uint64_t>() + 11);
  EXPECT_TRUE(succeeded(fathom(run.arguments())));
}

TEST(Durable, DoesNotNoticeThatAnotherWriterFillsTheDisk) {
  const auto mount = Mount::ext4(std::uint64_t{96} << 20);
  FATHOM_NEEDS_MOUNT(mount);
  Training run = durable_run();
  run.nvme = mount->path();
  run.config = ds_config(run.nvme);
  run.config["fathom"]["store"] = "durable";
  run.steps = 1'000'000;
  fs::create_directories(run.out);
  Process process(command_line(run.arguments()));
  ASSERT_TRUE(process.wait_until(run.out, [&] { return lines_in(run.metrics()) >= 1; }));
  const std::string eater = mount->path() + "/eater";
  std::FILE* const file = std::fopen(eater.c_str(), "w");
  const std::string block(1 << 16, 'x');
  while (std::fwrite(block.data(), 1, block.size(), file) == block.size()) {
  }
  std::fclose(file);
  EXPECT_LT(fs::space(mount->path()).available, 1U << 16);
  const std::size_t before = lines_in(run.metrics());
  ASSERT_TRUE(process.wait_until(run.out, [&] { return lines_in(run.metrics()) >= before + 3; }));
  process.send(SIGINT);
  const Outcome done = process.finish();
  EXPECT_EQ(done.code, 3) << done.err;
  EXPECT_EQ(inspected(run.out, {"--verify"}).at("step"), lines_in(run.metrics()));
  // A store that does not fit beside it is refused, and leaves nothing.
  Training second = run;
  second.out = new_scratch_name("out");
  EXPECT_TRUE(refused(fathom(second.arguments()), 2, {"need ", "have ", mount->path(), "--gc"}));
  EXPECT_EQ(jobs_in(mount->path()).size(), 2U) << "the run's own and the eater";
}

TEST(Durable, SaysSoWhenItsFilesAreRemovedUnderIt) {
  Training run = durable_run();
  run.steps = 1'000'000;
  fs::create_directories(run.out);
  Process process(command_line(run.arguments()));
  ASSERT_TRUE(process.wait_until(run.out, [&] { return lines_in(run.metrics()) >= 1; }));
  for (const std::string& job : jobs_in(run.nvme)) fs::remove_all(job);
  const Outcome done = process.finish();
  EXPECT_EQ(done.code, 1);
  EXPECT_NE(done.err.find(run.nvme), std::string::npos) << done.err;
  EXPECT_NE(done.err.find("removed while the run used it"), std::string::npos) << done.err;
}

TEST(Durable, RefusesADirectoryWhereOthersCouldReplaceIt) {
  Training run = durable_run();
  ASSERT_EQ(::chmod(run.nvme.c_str(), 0777), 0);
  EXPECT_TRUE(refused(fathom(run.arguments()), 1, {run.nvme, "everybody may write there"}));
  EXPECT_TRUE(left_nothing(run));
}

TEST(Durable, NeedsADirectory) {
  Training run = durable_run();
  run.config.erase("zero_optimization");
  EXPECT_TRUE(refused(fathom(run.arguments()), 2, {"fathom.store", "nvme_paths"}));
}

}  // namespace
}  // namespace fathom::tools
