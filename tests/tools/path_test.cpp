// SPDX-License-Identifier: Apache-2.0
//
// Directories that can't be used: nvme_path and --out, missing, in the way, read-only, full,
// forbidden.
#include <filesystem>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.hpp"

namespace fathom::tools {
namespace {

Training training_at(const std::string& nvme) {
  Training run;
  run.nvme = nvme;
  run.config = ds_config(nvme);
  return run;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

class NvmePath : public testing::Test {
 protected:
  void expect_refused(const std::string& nvme, const std::vector<std::string>& says) {
    Training run = training_at(nvme);
    EXPECT_TRUE(refused(fathom(run.arguments()), 2, says));
    EXPECT_FALSE(std::filesystem::exists(run.out));
    // A plan for the same machine only says what is short.
    const json plan = plan_of(run);
    ASSERT_FALSE(plan.is_discarded());
    EXPECT_NE(plan.at("shortfalls").dump().find(says.front()), std::string::npos) << plan.dump();
  }
};

TEST_F(NvmePath, ThatIsMissingIsNamed) {
  expect_refused("/nonexistent/nvme", {"/nonexistent/nvme", "No such file", "create it"});
}

TEST_F(NvmePath, ThatIsMissingIsNamedThoughMemoryWouldDo) {
  Training run = training_at("/nonexistent/nvme");
  run.config["fathom"]["host_memory"] = "1GiB";
  EXPECT_TRUE(refused(fathom(run.arguments()), 2, {"/nonexistent/nvme"}));
}

TEST_F(NvmePath, ThatIsAFileIsNamed) {
  const std::string file = scratch_file("plain", "x");
  expect_refused(file, {file, "not a directory"});
  EXPECT_EQ(read_file(file), "x");
}

TEST_F(NvmePath, ThatIsReadOnlyIsNamed) {
  const auto mount = Mount::tmpfs("size=64M");
  FATHOM_NEEDS_MOUNT(mount);
  mount->make_read_only();
  expect_refused(mount->path(), {mount->path(), "read-only", "writable"});
}

TEST_F(NvmePath, ThatIsFullSaysWhatIsNeededAndWhatIsThere) {
  const auto mount = Mount::tmpfs("size=1M");
  FATHOM_NEEDS_MOUNT(mount);
  expect_refused(mount->path(), {mount->path(), "need 1", "have 1.00 MiB", "free space"});
  EXPECT_TRUE(files_in(mount->path()).empty());
}

TEST_F(NvmePath, ThatIsForbiddenIsNamed) {
  const std::string closed = new_scratch_directory("closed");
  Launch launch;
  launch.variables["XDG_CACHE_HOME"] = "/nonexistent";
  ASSERT_EQ(::chmod(closed.c_str(), 0555), 0);
  if (::geteuid() == 0) {
    launch.before_exec = [] {
      if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(126);
    };
    if (run(command_line({"--version"}), launch).code != 0)
      GTEST_SKIP() << "another user may not run " << program();
  }
  Training run = training_at(closed);
  EXPECT_TRUE(refused(fathom(run.arguments(), launch), 2, {closed, "Permission denied"}));
  EXPECT_TRUE(left_nothing(run));
}

TEST_F(NvmePath, OnTmpfsIsBufferedWithOneWarning) {
  const auto mount = Mount::tmpfs("size=64M");
  FATHOM_NEEDS_MOUNT(mount);
  Training run = training_at(mount->path());
  const Outcome done = fathom(run.arguments());
  ASSERT_TRUE(succeeded(done));
  EXPECT_EQ(count(done.err, "warning: " + mount->path() + ": tmpfs"), 1U) << done.err;
  EXPECT_EQ(count(done.err, "buffered"), 1U) << done.err;
  EXPECT_TRUE(files_in(mount->path()).empty());
}

TEST_F(NvmePath, BeyondTheLimitOfFileSizesIsAnErrorNotASignal) {
  Training run = training_at(new_scratch_directory("nvme"));
  Launch launch;
  launch.before_exec = [] {
    const struct rlimit limit{64 << 10, 64 << 10};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  };
  EXPECT_TRUE(refused(fathom(run.arguments(), launch), 1, {run.nvme, "ulimit -f"}));
  EXPECT_TRUE(left_nothing(run));
}

TEST_F(NvmePath, ThatIsAbsentMeansHostMemoryAndOneLineSaysSo) {
  Training run;
  for (const char* part : {"offload_param", "offload_optimizer"})
    run.config["zero_optimization"][part].erase("nvme_path");
  run.config["fathom"]["host_memory"] = "1GiB";
  run.more = {"--json"};
  const Outcome done = fathom(run.arguments());
  ASSERT_TRUE(succeeded(done));
  EXPECT_EQ(count(done.err, "pinned host memory"), 1U) << done.err;
  EXPECT_EQ(count(done.err, "12 bytes per parameter"), 1U) << done.err;
  const json report = json::parse(done.out);
  EXPECT_EQ(report.at("plan").at("store_bytes"), 0U);
  EXPECT_EQ(report.at("bytes_measured").at("nvme_write"), 0U);

  // Too little memory for that is refused, with the way out.
  run.config["fathom"]["host_memory"] = "8MiB";
  run.out = new_scratch_name("out");
  EXPECT_TRUE(refused(fathom(run.arguments()), 2, {"the smallest that works", "nvme_path"}));
}

class OutPath : public testing::Test {
 protected:
  Training run_{.model = small_model()};
};

TEST_F(OutPath, ThatIsAFileIsNamedAndKept) {
  run_.out = scratch_file("plain", "precious");
  EXPECT_TRUE(refused(fathom(run_.arguments()), 1, {run_.out}));
  EXPECT_EQ(read_file(run_.out), "precious");
  run_.out += "/below";
  EXPECT_TRUE(refused(fathom(run_.arguments()), 1, {run_.out}));
}

TEST_F(OutPath, ThatIsTooLongIsNamed) {
  run_.out = "/tmp/" + std::string(300, 'a');
  EXPECT_TRUE(refused(fathom(run_.arguments()), 1, {run_.out, "too long"}));
}

TEST_F(OutPath, ThatIsReadOnlyIsNamed) {
  const auto mount = Mount::tmpfs("size=64M");
  FATHOM_NEEDS_MOUNT(mount);
  mount->make_read_only();
  run_.out = mount->path() + "/out";
  EXPECT_TRUE(refused(fathom(run_.arguments()), 1, {run_.out, "Read-only"}));
  EXPECT_TRUE(left_nothing(run_));
}

TEST_F(OutPath, ThatIsFullKeepsTheCheckpointBefore) {
  const auto mount = Mount::tmpfs("size=64M");
  FATHOM_NEEDS_MOUNT(mount);
  run_.out = mount->path() + "/out";
  run_.steps = 2;
  ASSERT_TRUE(succeeded(fathom(run_.arguments())));
  const std::string before = step_directory(run_.out);
  const auto committed = files_in(before);
  mount->resize("size=3M");  // one checkpoint of 1.7 MiB, not two
  run_.steps = 3;
  run_.more = {"--resume"};
  EXPECT_TRUE(refused(fathom(run_.arguments()), 1, {run_.out, "No space left"}));
  EXPECT_EQ(step_directory(run_.out), before);
  EXPECT_TRUE(files_in(before) == committed);
  for (const auto& entry : std::filesystem::directory_iterator(run_.out))
    EXPECT_EQ(entry.path().string().find(".partial"), std::string::npos) << entry.path();
  mount->resize("size=64M");
  EXPECT_TRUE(succeeded(fathom(run_.arguments())));
  EXPECT_EQ(step_directory(run_.out), run_.out + "/step-00000003");
}

TEST_F(OutPath, MetricsThatCantBeWrittenAreRefusedBeforeTheFirstStep) {
  run_.more = {"--metrics", "/nonexistent/metrics"};
  EXPECT_TRUE(refused(fathom(run_.arguments()), 1, {"/nonexistent/metrics", "--metrics"}));
  EXPECT_TRUE(left_nothing(run_));
}

}  // namespace
}  // namespace fathom::tools
