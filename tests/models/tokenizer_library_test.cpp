// SPDX-License-Identifier: Apache-2.0
//
// Ids and texts are those of the `tokenizers` library: on the stored cases of tests/data/tokenizers
// always, on 11,200 more where the library is installed (FATHOM_TOKENIZERS_PYTHON names the
// interpreter that has it; python3 otherwise). make_tokenizers.py beside this file makes both.
#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <memory>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "fixtures.hpp"
#include "models/tokenizer.hpp"
#include "models/utf8.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<TokenId>;

constexpr std::size_t cases_for_each = 700;

std::filesystem::path data_path() {
  return std::filesystem::path(FATHOM_SOURCE_ROOT) / "tests/data/tokenizers";
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator(data_path()))
    if (entry.path().extension() == ".json") all.push_back(entry.path().stem().string());
  std::ranges::sort(all);
  return all;
}

Tokenizer load(const std::string& name) {
  const std::filesystem::path file = data_path() / (name + ".json");
  auto tokenizer = Tokenizer::parse(read_all(file), file.string());
  EXPECT_TRUE(tokenizer) << tokenizer.error().message();
  return tokenizer ? std::move(*tokenizer) : Tokenizer::bytes();
}

// What differs, or nothing.
std::string difference(const Tokenizer& tokenizer, const Json& entry) {
  const std::string text = entry["text"];
  const Ids ids = tokenizer.encode(text, false), special = tokenizer.encode(text, true);
  const Json found = {
      {"text", text},
      {"ids", ids},
      {"special", special},
      {"decoded", {tokenizer.decode(special, false), tokenizer.decode(special, true)}}};
  for (const char* key : {"ids", "special", "decoded"})
    if (found[key] != entry[key])
      return Json(text).dump() + " " + key + ": " + found[key].dump() + ", the library has " +
             entry[key].dump();
  return {};
}

class StoredCases : public testing::TestWithParam<std::string> {};

TEST_P(StoredCases, HaveTheLibrarysIdsAndTexts) {
  const Tokenizer tokenizer = load(GetParam());
  std::istringstream lines(read_all(data_path() / (GetParam() + ".cases.jsonl")));
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    EXPECT_EQ(difference(tokenizer, Json::parse(line)), "");
  EXPECT_GE(count, 60U);
}

TEST_P(StoredCases, StreamToTheSameTextInWellFormedParts) {
  const Tokenizer tokenizer = load(GetParam());
  std::istringstream lines(read_all(data_path() / (GetParam() + ".cases.jsonl")));
  for (std::string line; std::getline(lines, line);) {
    const Json entry = Json::parse(line);
    StreamDecoder stream(tokenizer, {});
    std::string all;
    for (const TokenId id : entry["special"].get<Ids>()) {
      const std::string part = stream.push(id);
      EXPECT_TRUE(is_valid_utf8(part));
      all += part;
    }
    EXPECT_EQ(all + stream.finish(), entry["decoded"][1]) << entry["text"];
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, StoredCases, testing::ValuesIn(names()),
                         [](const auto& test) { return test.param; });

TEST(TokenizerLibrary, GivesTheSameIdsAndTextsForThousandsOfVariedTexts) {
  const char* named = std::getenv("FATHOM_TOKENIZERS_PYTHON");
  const std::string python = named != nullptr ? named : "python3";
  if (std::system((python + " -c 'import tokenizers' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << python << " has no tokenizers library; name one that has it with "
                 << "FATHOM_TOKENIZERS_PYTHON";
  const std::string command = python +
                              " " FATHOM_SOURCE_ROOT "/tests/models/make_tokenizers.py cases " +
                              data_path().string() + " " + std::to_string(cases_for_each);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"),
                                                             ::pclose);
  ASSERT_NE(pipe, nullptr);
  std::string output;
  std::array<char, 1 << 16> buffer{};
  for (std::size_t got; (got = std::fread(buffer.data(), 1, buffer.size(), pipe.get())) > 0;)
    output.append(buffer.data(), got);

  std::map<std::string, Tokenizer> tokenizers;
  std::istringstream lines(output);
  std::size_t count = 0, wrong = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const Json entry = Json::parse(line);
    const std::string name = entry["tokenizer"];
    auto at = tokenizers.find(name);
    if (at == tokenizers.end()) at = tokenizers.emplace(name, load(name)).first;
    const std::string different = difference(at->second, entry);
    if (different.empty()) continue;
    if (++wrong <= 20) ADD_FAILURE() << name << " " << different;
  }
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(count, names().size() * cases_for_each);
  EXPECT_GE(count, 10'000U);
}

}  // namespace
}  // namespace fathom::models
