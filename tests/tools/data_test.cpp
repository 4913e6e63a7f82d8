// SPDX-License-Identifier: Apache-2.0
//
// Configurations and data that are wrong: one message, the right exit code, nothing left behind.
#include <sys/stat.h>

#include "program.hpp"

namespace fathom::tools {
namespace {

class BadConfig : public testing::Test {
 protected:
  // Trains with `config` in place of the run's own.
  void expect_refused(const std::string& config, const std::vector<std::string>& says) {
    Arguments line = run_.arguments();
    *(std::find(line.begin(), line.end(), "--config") + 1) = config;
    EXPECT_TRUE(refused(fathom(line), 2, says)) << config.substr(0, 200);
    EXPECT_TRUE(left_nothing(run_));
  }
  Training run_{.model = small_model()};
};

TEST_F(BadConfig, AMissingFileIsNamed) {
  expect_refused("/nonexistent/ds.json", {"/nonexistent/ds.json", "No such file", "pass a file"});
}

TEST_F(BadConfig, ADirectoryIsNamed) {
  expect_refused(run_.nvme, {run_.nvme, "directory", "pass a readable file"});
}

TEST_F(BadConfig, AFileThatLoopsIsNamed) {
  const std::string link = new_scratch_name("loop");
  ASSERT_EQ(::symlink(link.c_str(), link.c_str()), 0);
  expect_refused(link, {link});
}

TEST_F(BadConfig, AnUnreadableFileIsNamed) {
  const std::string file = scratch_file("ds.json", "{}");
  ASSERT_EQ(::chmod(file.c_str(), 0), 0);
  Arguments line = run_.arguments();
  *(std::find(line.begin(), line.end(), "--config") + 1) = file;
  Launch launch;
  if (::geteuid() == 0) {
    launch.before_exec = [] {
      if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(126);
    };
    if (run(command_line({"--version"}), launch).code != 0)
      GTEST_SKIP() << "another user may not run " << program();
  }
  EXPECT_TRUE(refused(fathom(line, launch), 2, {file, "Permission denied"}));
  EXPECT_TRUE(left_nothing(run_));
}

TEST_F(BadConfig, WhatIsNoJsonIsNamedWithItsPlace) {
  expect_refused("{\"train_micro_batch_size_per_gpu\": 2,", {"inline configuration:1:38"});
  expect_refused(scratch_file("empty.json", ""), {"empty.json:1:1"});
  expect_refused(scratch_file("list.json", "[1]"), {"list.json"});
  expect_refused(scratch_file("noise.json", std::string("\xff\xfe\0\x80", 4)), {"noise.json:1:1"});
}

TEST_F(BadConfig, AValueOfTheWrongTypeIsNamed) {
  run_.config["train_micro_batch_size_per_gpu"] = "two";
  expect_refused(run_.config.dump(), {"train_micro_batch_size_per_gpu", "two", "integer"});
}

TEST_F(BadConfig, AMisspeltKeyGetsTheNearestName) {
  run_.config["gradient_cliping"] = 1;
  expect_refused(run_.config.dump(), {"gradient_cliping", "did you mean gradient_clipping"});
}

TEST_F(BadConfig, AFlagThatContradictsTheFileIsNamed) {
  run_.more = {"--learning-rate", "0.5"};
  expect_refused(run_.config.dump(), {"--learning-rate", "lr", "auto"});
}

TEST_F(BadConfig, StandardInputIsRead) {
  run_.config["fathom"]["host_memroy"] = "1GiB";
  Arguments line = run_.arguments();
  *(std::find(line.begin(), line.end(), "--config") + 1) = "-";
  EXPECT_TRUE(refused(fathom(line, {.input = run_.config.dump()}), 2,
                      {"standard input", "did you mean host_memory"}));
  EXPECT_TRUE(left_nothing(run_));
}

class BadData : public testing::Test {
 protected:
  void expect_refused(const std::string& data, const std::vector<std::string>& says) {
    run_.data = data;
    EXPECT_TRUE(refused(fathom(run_.arguments()), 1, says)) << data;
    EXPECT_TRUE(left_nothing(run_));
  }
  Training run_{.model = small_model(), .length = 16};
};

TEST_F(BadData, AMissingFileIsNamed) {
  expect_refused("/nonexistent/text", {"/nonexistent/text", "--data"});
}

TEST_F(BadData, ADirectoryWithoutFilesIsNamed) {
  expect_refused(run_.nvme, {run_.nvme, "no regular file"});
}

TEST_F(BadData, TextShorterThanASequenceSaysBothLengths) {
  expect_refused(scratch_file("short.txt", "short"), {"short.txt", "5 tokens", "17", "--seq-len"});
  expect_refused(scratch_file("none.txt", ""), {"none.txt", "empty"});
}

TEST_F(BadData, TokensBeyondTheVocabularyAreNamed) {
  std::string ids;
  for (int i = 0; i < 40; ++i) ids += std::string(i == 30 ? "\x00\x01" : "\x07\x00", 2);
  expect_refused(scratch_file("ids.bin", ids), {"ids.bin", "token 256 at position 30", "256"});
  // Bytes of text are tokens too where a model has no tokenizer.
  run_.model = make_model({.vocabulary = 100});
  expect_refused(words(), {words(), "vocabulary of 100"});
}

TEST_F(BadData, HalfATokenIsNoticed) {
  expect_refused(scratch_file("odd.bin", std::string(80, '\0') + "x"), {"odd.bin", "--data-dtype"});
}

TEST_F(BadData, ALineThatIsNoRecordIsNamedByNumber) {
  expect_refused(scratch_file("a.jsonl", "{\"text\":\"a long enough text\"}\n{\"txt\":1}\n"),
                 {"a.jsonl, line 2", "text"});
  expect_refused(scratch_file("b.jsonl", "{\"text\":\n"), {"b.jsonl, line 1"});
}

TEST_F(BadData, DirectoriesRecordsAndWideTokensAreRead) {
  run_.nvme = new_scratch_directory("nvme");
  std::string wide;
  for (int i = 0; i < 200; ++i) wide += std::string({static_cast<char>(i % 100), 0, 0, 0});
  std::string records;
  for (int i = 0; i < 10; ++i) records += "{\"text\":\"the river runs over stones\"}\n";
  const std::string folder = new_scratch_directory("data");
  write_file(folder + "/a.txt", std::string(100, 'a'));
  write_file(folder + "/b.jsonl", records);
  for (const auto& [data, windows] : std::vector<std::pair<std::string, std::uint64_t>>{
           {scratch_file("wide.bin", wide), 200 / 17}, {folder, (100 + 10 * 27) / 17}}) {
    run_.data = data;
    run_.steps = 1;
    run_.out = new_scratch_name("out");
    run_.more = {"--data-dtype", "uint32", "--json"};
    const Outcome done = fathom(run_.arguments());
    ASSERT_TRUE(succeeded(done)) << data;
    EXPECT_EQ(json::parse(done.out).at("data").at("windows"), windows) << data;
  }
}

}  // namespace
}  // namespace fathom::tools
