// SPDX-License-Identifier: Apache-2.0
//
// aio_bench as a user meets it: exit codes, streams, files. AIO_BENCH names the program.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include "scratch_directory.hpp"

namespace fathom::aio {
namespace {

using Json = nlohmann::ordered_json;

struct Ran {
  int code = -1;
  std::string out, err;
};

std::string slurp(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class AioBench : public testing::Test {
 protected:
  void SetUp() override {
    const char* program = std::getenv("AIO_BENCH");
    if (program == nullptr) GTEST_SKIP() << "AIO_BENCH does not name the program";
    program_ = program;
  }
  Ran run(const std::string& arguments) {
    const std::string out = logs_.path() + "/out", err = logs_.path() + "/err";
    const int status =
        std::system(("'" + program_ + "' " + arguments + " >" + out + " 2>" + err).c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, slurp(out), slurp(err)};
  }
  std::string program_;
  ScratchDirectory logs_, target_;
};

TEST_F(AioBench, BadUsageIsExitCodeTwoWithNothingOnStdout) {
  for (const char* arguments :
       {"", "--path", "--engine magic --path .", "--frobnicate --path .", "--path . --time -1"}) {
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, 2) << arguments;
    EXPECT_EQ(ran.out, "") << arguments;
    EXPECT_NE(ran.err, "") << arguments;
  }
}

TEST_F(AioBench, AMissingDirectoryIsExitCodeOneByName) {
  const Ran ran = run("--path /nonexistent/fathom --json");
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.out, "");
  EXPECT_NE(ran.err.find("/nonexistent/fathom"), std::string::npos) << ran.err;
}

TEST_F(AioBench, ADryRunDescribesAndLeavesNothing) {
  const Ran ran = run("--dry-run --json --size 0.125 --path " + target_.path());
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json report = Json::parse(ran.out);
  ASSERT_EQ(report["paths"].size(), 1U);
  EXPECT_EQ(report["paths"][0]["path"], target_.path());
  EXPECT_EQ(report["paths"][0]["engines"].size(), 3U);
  EXPECT_TRUE(std::filesystem::is_empty(target_.path()));
}

TEST_F(AioBench, ARunWritesExactlyTheAioBlockAndOneJsonDocument) {
  const std::string out = target_.path() + "/results";
  const Ran ran = run("--json --engine posix --size 0.125 --time 1 --max-write-gib 2 --path " +
                      target_.path() + " --out " + out);
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json report = Json::parse(ran.out);
  const Json block = Json::parse(slurp(out + "/aio.json"));
  ASSERT_EQ(block.size(), 1U);
  const Json& aio = block["aio"];
  std::vector<std::string> keys;
  for (const auto& item : aio.items()) keys.push_back(item.key());
  EXPECT_EQ(keys, (std::vector<std::string>{"block_size", "queue_depth", "intra_op_parallelism",
                                            "single_submit", "overlap_events", "use_gds"}));
  EXPECT_TRUE(aio["block_size"].is_number_unsigned());
  EXPECT_TRUE(aio["single_submit"].is_boolean());
  EXPECT_EQ(report["aio"], aio);
  EXPECT_EQ(Json::parse(slurp(out + "/report.json")), report);
  EXPECT_LE(report["bytes_written"].get<std::uint64_t>(), std::uint64_t{2} << 30);
  for (const auto& arm : report["arms"]) {
    EXPECT_EQ(arm["engine"], "posix");
    EXPECT_GT(arm["read_bytes_per_second"].get<double>(), 0);
  }
  // What `fathom plan --profile` reads.
  const Json& profile = report["profile"];
  EXPECT_GT(profile["read_bytes_per_second"].get<double>(), 0);
  EXPECT_GE(profile["write_bytes_per_second"].get<double>(), 0);
  EXPECT_GE(profile["duplex"].get<double>(), 0);
  EXPECT_LE(profile["duplex"].get<double>(), 1);
  const std::string csv = slurp(out + "/trials.csv");
  EXPECT_TRUE(csv.starts_with("phase,engine,block_size,"));
  EXPECT_GT(std::count(csv.begin(), csv.end(), '\n'), 1);
}

TEST_F(AioBench, AWriteLimitBelowTheScratchFileIsRefusedBeforeAnythingIsWritten) {
  const Ran ran = run("--size 1 --max-write-gib 0.5 --path " + target_.path() + " --out " +
                      target_.path() + "/results");
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("--max-write-gib"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(target_.path()));
}

}  // namespace
}  // namespace fathom::aio
