// SPDX-License-Identifier: Apache-2.0
//
// Every configuration of examples.txt gets the verdict that stands above it.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include <unistd.h>

#include "tests/config/verdicts.hpp"

namespace fathom::config {
namespace {

std::string trimmed(std::string text) {
  while (text.ends_with(' ')) text.pop_back();
  while (text.starts_with(' ')) text.erase(0, 1);
  return text;
}

// "=== name | ranks | context | verdict | words"
Example parse_heading(const std::string& line) {
  std::vector<std::string> cells(1);
  for (const char c : line.substr(3)) {
    if (c == '|')
      cells.emplace_back();
    else
      cells.back() += c;
  }
  std::ranges::transform(cells, cells.begin(), trimmed);
  cells.resize(5);
  return {.name = cells[0],
          .source = {},
          .text = {},
          .ranks = std::stoull(cells[1]),
          .trainer = cells[2] == "trainer",
          .verdict = cells[3],
          .must_name = cells[4]};
}

std::vector<Example> read_examples() {
  std::ifstream file(std::string(FATHOM_SOURCE_ROOT) + "/tests/config/examples.txt");
  std::vector<Example> examples;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("===")) {
      examples.push_back(parse_heading(line));
    } else if (!examples.empty()) {
      examples.back().text += line + "\n";
    }
  }
  return examples;
}

TEST(Examples, EachHasTheVerdictAboveIt) {
  std::vector<Example> examples = read_examples();
  std::map<std::string, int> verdicts;
  // As a file: what lacks even its braces is not taken for JSON on the command line.
  std::string path = (std::filesystem::temp_directory_path() / "fathom-example-XXXXXX").string();
  const int file = ::mkstemp(path.data());
  ASSERT_GE(file, 0);
  ::close(file);
  for (Example& example : examples) {
    ++verdicts[example.verdict];
    std::ofstream(path, std::ios::trunc) << example.text;
    example.source = path;
    expect_verdict(example);
  }
  std::filesystem::remove(path);
  EXPECT_EQ(examples.size(), 102U);
  EXPECT_EQ(verdicts.size(), 4U) << "ok, notes, error, later";
}

}  // namespace
}  // namespace fathom::config
