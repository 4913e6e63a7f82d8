// SPDX-License-Identifier: Apache-2.0
//
// Published configurations and their expected verdicts, where they are present: each row of
// expect.tsv must come out as it says. They are not part of this repository; FATHOM_DS_CONFIGS
// names their folder.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

namespace fs = std::filesystem;

// Files that the format allows and this version of the engine refuses, with the key that it names.
// A row goes when the key leaves the list in not_in_this_version.cpp.
const std::map<std::string, std::string>& refused_in_this_version() {
  static const std::map<std::string, std::string> rows = {
      {"old_zero2_full_manual.json", "fp16.enabled"},
      {"old_fp16_manual.json", "fp16.enabled"},
      {"old_zero3_full_manual.json", "fp16.enabled"},
      {"hf_tests_zero3_manual_2021.json", "fp16.enabled"},
      {"ds_fp16_all.json", "fp16.enabled"},
      {"ds_tensorboard.json", "tensorboard.enabled"},
      {"ds_csv_monitor.json", "csv_monitor.enabled"},
      {"ds_offload_twinflow.json", "zero_optimization.offload_optimizer.ratio"},
  };
  return rows;
}

fs::path folder() {
  if (const char* named = std::getenv("FATHOM_DS_CONFIGS")) return named;
  for (const char* relative : {"../shared", "../../shared"}) {
    const fs::path candidate = fs::path(FATHOM_SOURCE_ROOT) / relative / "reference/ds_configs";
    if (fs::exists(candidate / "expect.tsv")) return candidate;
  }
  return {};
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::string read(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// What stands in for `auto`, and for batch sizes where the file has none.
Sources context_a(const std::string& text) {
  Sources sources{.hidden_size = 2048};
  CommandLine& stand_in = sources.stand_in;
  stand_in.per_device_train_batch_size = 1;
  stand_in.learning_rate = 1e-4;
  stand_in.warmup_steps = 10;
  stand_in.max_steps = 100;
  stand_in.bf16 = true;
  sources.total_steps = 100;
  if (!says(text, "\"train_batch_size\"") && !says(text, "\"train_micro_batch_size_per_gpu\""))
    sources.flags.per_device_train_batch_size = 1;
  return sources;
}

// "path", "written -> hint" or "path (written -> hint)": every word has to be said.
std::vector<std::string> words_of(const std::string& must_name) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : must_name + ",") {
    if (c == ',' || c == '(' || c == ')' || c == '>') {
      while (word.ends_with(' ') || word.ends_with('-')) word.pop_back();
      while (word.starts_with(' ')) word.erase(0, 1);
      if (!word.empty()) words.push_back(word);
      word.clear();
    } else {
      word += c;
    }
  }
  return words;
}

TEST(PublicFiles, EachHasItsExpectedVerdict) {
  const fs::path root = folder();
  if (root.empty()) GTEST_SKIP() << "the published configurations are not here";
  std::ifstream table(root / "expect.tsv");
  std::string line;
  std::getline(table, line);  // header
  int rows = 0, refused = 0;
  while (std::getline(table, line)) {
    const auto cells = split(line, '\t');
    ASSERT_GE(cells.size(), 4U) << line;
    const std::string &file = cells[0], &verdict = cells[3];
    SCOPED_TRACE(file);
    ++rows;
    ASSERT_TRUE(fs::exists(root / file));
    Sources sources = cells[2] == "A" ? context_a(read(root / file)) : Sources{};
    sources.world_size = std::stoull(cells[1]);
    const auto loaded = load((root / file).string(), sources);
    std::vector<std::string> must_name = words_of(cells.size() > 4 ? cells[4] : "");
    if (const auto row = refused_in_this_version().find(file);
        row != refused_in_this_version().end()) {
      ++refused;
      ASSERT_FALSE(loaded);
      EXPECT_SAYS(loaded.error().message(), row->second);
      EXPECT_SAYS(loaded.error().message(), "not in this version");
      EXPECT_SAYS(loaded.error().message(), "one problem");
      continue;
    }
    if (verdict == "error") {
      EXPECT_FALSE(loaded);
      if (loaded) continue;
      EXPECT_EQ(loaded.error().code(), Errc::bad_config);
      for (const std::string& word : must_name) EXPECT_SAYS(loaded.error().message(), word);
      continue;
    }
    ASSERT_TRUE(loaded) << loaded.error().message();
    if (verdict == "ok")
      EXPECT_TRUE(loaded->notes.empty()) << joined(loaded->notes);
    else
      EXPECT_FALSE(loaded->notes.empty());
    for (const std::string& word : must_name)
      EXPECT_TRUE(any_says(loaded->notes, word)) << word << " in\n" << joined(loaded->notes);
    const auto again = load_object(loaded->resolved, sources);
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_TRUE(again->config == loaded->config) << loaded->resolved.dump(2);
  }
  EXPECT_GE(rows, 95);
  EXPECT_EQ(refused, static_cast<int>(refused_in_this_version().size()));
}

TEST(Templates, OfTheRepositoryLoadWithoutNotes) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(FATHOM_SOURCE_ROOT) / "configs")) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path().filename().string());
    ++files;
    for (const Purpose purpose : {Purpose::train, Purpose::inference}) {
      const Sources sources{.purpose = purpose, .hidden_size = 1024, .total_steps = 50};
      const auto loaded = load(entry.path().string(), sources);
      ASSERT_TRUE(loaded) << loaded.error().message();
      EXPECT_TRUE(loaded->notes.empty()) << joined(loaded->notes);
    }
  }
  EXPECT_GE(files, 3);
}

}  // namespace
}  // namespace fathom::config
