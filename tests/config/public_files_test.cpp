// SPDX-License-Identifier: Apache-2.0
//
// Published configurations and their expected verdicts, where they are present: each row of
// expect.tsv must come out as it says. They are not part of this repository; FATHOM_DS_CONFIGS
// names their folder. The project's own versions of them are in examples.txt.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/config/verdicts.hpp"

namespace fathom::config {
namespace {

namespace fs = std::filesystem;

// Files that the format allows and this version of the engine refuses, with the key that it names.
// A row goes when the key leaves the list in not_in_this_version.cpp.
const std::map<std::string, std::string>& refused_in_this_version() {
  static const std::map<std::string, std::string> rows = {
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

TEST(PublicFiles, EachHasItsExpectedVerdict) {
  const fs::path root = folder();
  if (root.empty()) GTEST_SKIP() << "the published configurations are not here";
  std::ifstream table(root / "expect.tsv");
  std::string line;
  std::getline(table, line);  // header
  int rows = 0;
  while (std::getline(table, line)) {
    const auto cells = split(line, '\t');
    ASSERT_GE(cells.size(), 4U) << line;
    const std::string path = (root / cells[0]).string();
    ASSERT_TRUE(fs::exists(path)) << path;
    Example example{.name = cells[0],
                    .source = path,
                    .text = read(path),
                    .ranks = std::stoull(cells[1]),
                    .trainer = cells[2] == "A",
                    .verdict = cells[3],
                    .must_name = cells.size() > 4 ? cells[4] : ""};
    if (const auto row = refused_in_this_version().find(cells[0]);
        row != refused_in_this_version().end()) {
      example.verdict = "later";
      example.must_name = row->second;
    }
    expect_verdict(example);
    ++rows;
  }
  EXPECT_EQ(rows, 102);
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
