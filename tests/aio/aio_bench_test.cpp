// SPDX-License-Identifier: Apache-2.0
//
// aio_bench as a user meets it: exit codes, streams, files. AIO_BENCH names the program.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "aio/device_profile.hpp"
#include "config/config.hpp"
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
  // Runs it without a shell and interrupts it as soon as it has said `word` on stderr.
  Ran run_and_interrupt(const std::vector<std::string>& arguments, const std::string& word) {
    const std::string out = logs_.path() + "/out", err = logs_.path() + "/err";
    std::ofstream(err).close();
    const pid_t child = ::fork();
    if (child == 0) {
      std::vector<char*> argv = {program_.data()};
      std::vector<std::string> copies = arguments;
      for (std::string& argument : copies) argv.push_back(argument.data());
      argv.push_back(nullptr);
      ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
      ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
      ::execv(program_.c_str(), argv.data());
      ::_exit(127);
    }
    int status = 0;
    bool sent = false;
    while (::waitpid(child, &status, WNOHANG) == 0) {
      if (!sent && slurp(err).find(word) != std::string::npos) sent = ::kill(child, SIGINT) == 0;
      ::usleep(1000);
    }
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, slurp(out), slurp(err)};
  }
  std::string program_;
  ScratchDirectory logs_, target_;
};

// A JSON schema in what it says of an aio block: these keys, these types, no others.
void expect_strict_aio_block(const Json& block) {
  ASSERT_TRUE(block.is_object());
  ASSERT_EQ(block.size(), 1U);
  const Json& aio = block.at("aio");
  std::vector<std::string> keys;
  for (const auto& item : aio.items()) keys.push_back(item.key());
  EXPECT_EQ(keys, (std::vector<std::string>{"block_size", "queue_depth", "intra_op_parallelism",
                                            "single_submit", "overlap_events", "use_gds"}));
  for (const char* key : {"block_size", "queue_depth", "intra_op_parallelism"}) {
    EXPECT_TRUE(aio.at(key).is_number_unsigned()) << key;
    EXPECT_GE(aio.at(key).get<std::uint64_t>(), 1U) << key;
  }
  for (const char* key : {"single_submit", "overlap_events", "use_gds"})
    EXPECT_TRUE(aio.at(key).is_boolean()) << key;
  EXPECT_EQ(aio.at("block_size").get<std::uint64_t>() % 4096, 0U);
}

std::vector<std::vector<std::string>> csv_rows(const std::string& text) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    rows.emplace_back();
    std::istringstream cells(line);
    for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(cell);
  }
  return rows;
}

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
  const Ran ran = run("--json --engine posix --size 0.125 --time 1 --max-write-gib 1 --path " +
                      target_.path() + " --out " + out);
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json report = Json::parse(ran.out);
  const Json block = Json::parse(slurp(out + "/aio.json"));
  expect_strict_aio_block(block);
  EXPECT_EQ(report["aio"], block["aio"]);
  EXPECT_EQ(Json::parse(slurp(out + "/report.json")), report);
  EXPECT_EQ(report["interrupted"], false);
  for (const auto& arm : report["arms"]) {
    EXPECT_EQ(arm["engine"], "posix");
    EXPECT_GT(arm["read_bytes_per_second"].get<double>(), 0);
  }

  // The configuration loader takes the block as it is and has nothing to say of it.
  Json whole = block;
  whole["train_micro_batch_size_per_gpu"] = 1;
  const auto loaded = config::load(whole.dump(), {});
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_TRUE(loaded->notes.empty());
  EXPECT_EQ(loaded->config.aio.block_bytes, block["aio"]["block_size"]);
  EXPECT_EQ(loaded->config.aio.queue_depth, block["aio"]["queue_depth"]);
  EXPECT_EQ(loaded->config.aio.threads, block["aio"]["intra_op_parallelism"]);

  const auto profile = read_device_profile(out + "/profile.json");
  ASSERT_TRUE(profile) << profile.error().message();
  EXPECT_GT(profile->read, 0);
  EXPECT_GT(profile->write, 0);
  EXPECT_GT(profile->latency, 0);
  EXPECT_GE(profile->duplex, 0);
  EXPECT_LE(profile->duplex, 1);
  EXPECT_TRUE(read_device_profile(out + "/report.json")) << "the report holds it too";
  EXPECT_NE(slurp(out + "/report.svg").find("</svg>"), std::string::npos);
}

TEST_F(AioBench, EveryTrialIsListedWithItsProofAndAllWritesTogetherStayWithinTheLimit) {
  const std::string out = target_.path() + "/results";
  const Ran ran = run("--mix 1:3 --size 0.125 --time 1 --max-write-gib 1 --path " + target_.path() +
                      " --out " + out);
  ASSERT_EQ(ran.code, 0) << ran.err;
  const Json report = Json::parse(slurp(out + "/report.json"));
  const auto rows = csv_rows(slurp(out + "/trials.csv"));
  ASSERT_GT(rows.size(), 20U);
  const auto column = [&](const std::string& name) {
    const auto at = std::ranges::find(rows[0], name);
    EXPECT_NE(at, rows[0].end()) << name;
    return static_cast<std::size_t>(at - rows[0].begin());
  };
  const std::size_t writes = column("write_bytes"), reads = column("read_bytes"),
                    program = column("program"), share = column("device_share");
  std::uint64_t written = report["preflight"]["bytes_to_prepare"].get<std::uint64_t>();
  std::map<std::string, std::uint64_t> of;
  for (std::size_t i = 1; i < rows.size(); ++i) {
    ASSERT_EQ(rows[i].size(), rows[0].size()) << i;
    written += std::stoull(rows[i][writes]);
    of[rows[i][program]] += std::stoull(rows[i][writes]) + std::stoull(rows[i][reads]);
    EXPECT_TRUE(rows[i][share] == "unknown" || std::stod(rows[i][share]) >= 0) << rows[i][share];
  }
  EXPECT_EQ(report["bytes_written"], written) << "fio's writes are among them";
  EXPECT_LE(written, std::uint64_t{1} << 30);
  EXPECT_GT(of["fathom"], 0U);
  if (report["fio"].contains("skipped")) GTEST_SKIP() << report["fio"]["skipped"];
  EXPECT_GT(of["fio"], 0U);
  for (const char* mode : {"read", "write", "mixed"}) {
    if (!report["fio"].contains(mode)) continue;  // the budget may end before the last one
    for (const char* key : {"ratio", "ours_gbps", "fio_gbps", "ours_cpu_seconds_per_gib"})
      EXPECT_GT(report["fio"][mode][key].get<double>(), 0) << mode << key;
  }
  EXPECT_TRUE(report["fio"].contains("read"));
}

TEST_F(AioBench, TheSummaryAnswersFirstInTwentyLinesAndThenNamesTheFiles) {
  const std::string out = target_.path() + "/results";
  const Ran ran =
      run("--size 0.125 --time 1 --max-write-gib 1 --path " + target_.path() + " --out " + out);
  ASSERT_EQ(ran.code, 0) << ran.err;
  std::vector<std::string> lines;
  std::istringstream text(ran.out);
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  ASSERT_GT(lines.size(), 5U);
  expect_strict_aio_block(Json::parse(lines[0]));
  const auto files = std::ranges::find(lines, out + "/aio.json");
  ASSERT_NE(files, lines.end());
  EXPECT_LE(files - lines.begin(), 20);
  for (const char* name : {"aio.json", "profile.json", "report.json", "trials.csv", "report.svg"}) {
    EXPECT_NE(std::find(files, lines.end(), out + "/" + name), lines.end()) << name;
    EXPECT_TRUE(std::filesystem::exists(out + "/" + name)) << name;
  }
}

TEST_F(AioBench, AnInterruptPrintsWhatThereIsRemovesTheFileAndIsExitCodeThree) {
  // The last line of the preflight is out before anything is measured.
  const Ran ran = run_and_interrupt({"--size", "0.25", "--time", "600", "--max-write-gib", "4",
                                     "--path", target_.path(), "--out", logs_.path() + "/results"},
                                    "settings to try");
  EXPECT_EQ(ran.code, 3) << ran.err;
  EXPECT_TRUE(ran.out.starts_with("interrupted")) << ran.out;
  EXPECT_NE(ran.out.find("effort"), std::string::npos) << ran.out;
  EXPECT_TRUE(std::filesystem::is_empty(target_.path()));
  const Json report = Json::parse(slurp(logs_.path() + "/results/report.json"));
  EXPECT_EQ(report["interrupted"], true);
  EXPECT_FALSE(report.contains("aio"));
  EXPECT_FALSE(std::filesystem::exists(logs_.path() + "/results/aio.json"))
      << "nothing was decided";
}

TEST_F(AioBench, AMixThatIsNoneIsExitCodeTwo) {
  for (const char* mix : {"14", "a:b", "-1:2", "0:0", "1:2:3", "nan:1", ":"}) {
    const Ran ran = run(std::string("--dry-run --mix ") + mix + " --path " + target_.path());
    EXPECT_EQ(ran.code, 2) << mix;
    EXPECT_NE(ran.err.find("--mix"), std::string::npos) << ran.err;
  }
  EXPECT_EQ(run("--dry-run --mix 14:12 --size 0.125 --path " + target_.path()).code, 0);
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
