// SPDX-License-Identifier: Apache-2.0
//
// How documents become rows, and which of their tokens are learned.
#include <gtest/gtest.h>

#include "fixtures.hpp"
#include "models/dataset.hpp"

namespace fathom::models {
namespace {

using Ids = std::vector<std::int64_t>;
constexpr std::int64_t no = -100;

class PackedRows : public testing::Test {
 protected:
  Result<Dataset> open(const std::string& name, const std::string& text, std::uint64_t length,
                       Packing packing, std::optional<std::int64_t> eos = 0,
                       std::uint64_t batch = 0) {
    return Dataset::open(directory_.write(name, text), bytes_,
                         {.sequence_length = length,
                          .vocabulary = 256,
                          .packing = packing,
                          .eos = eos,
                          .padding = 255,
                          .batch = batch});
  }
  static Ids ids(const Dataset& data, std::uint64_t row, std::uint64_t length) {
    Ids in(length), out(length);
    data.row(row, in, out);
    return in;
  }
  static Ids targets(const Dataset& data, std::uint64_t row, std::uint64_t length) {
    Ids in(length), out(length);
    data.row(row, in, out);
    return out;
  }
  TemporaryDirectory directory_;
  Tokenizer bytes_ = Tokenizer::bytes();
  const std::string two_ = "{\"text\":\"abc\"}\n{\"text\":\"defgh\"}\n";
};

TEST_F(PackedRows, JoinedDocumentsFollowEachOther) {
  const auto data = open("a.jsonl", two_, 3, Packing::join);
  ASSERT_TRUE(data) << data.error().message();
  EXPECT_EQ(data->windows(), 2U);
  EXPECT_EQ(ids(*data, 0, 3), (Ids{'a', 'b', 'c'}));
  EXPECT_EQ(targets(*data, 0, 3), (Ids{'b', 'c', 'd'}));
  EXPECT_EQ(ids(*data, 1, 3), (Ids{'e', 'f', 'g'}));
  EXPECT_EQ(data->dropped_tokens(), 0U);
}

TEST_F(PackedRows, EosStandsBehindEachDocument) {
  const auto data = open("a.jsonl", two_, 4, Packing::eos);
  ASSERT_TRUE(data) << data.error().message();
  EXPECT_EQ(data->tokens(), 10U);
  EXPECT_EQ(ids(*data, 0, 4), (Ids{'a', 'b', 'c', 0}));
  EXPECT_EQ(targets(*data, 1, 4), (Ids{'f', 'g', 'h', 0}));
  const auto refused = open("a.jsonl", two_, 4, Packing::eos, {});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("eos_token_id"), std::string::npos);
}

TEST_F(PackedRows, PaddedDocumentsHaveRowsOfTheirOwn) {
  const auto data = open("a.jsonl", two_, 4, Packing::pad);
  ASSERT_TRUE(data) << data.error().message();
  // abc and EOS are one row; defgh and EOS are one of five tokens and a lone EOS, which predicts
  // nothing.
  ASSERT_EQ(data->windows(), 2U);
  EXPECT_EQ(ids(*data, 0, 4), (Ids{'a', 'b', 'c', 0}));
  EXPECT_EQ(targets(*data, 0, 4), (Ids{'b', 'c', 0, no}));
  EXPECT_EQ(ids(*data, 1, 4), (Ids{'d', 'e', 'f', 'g'}));
  EXPECT_EQ(targets(*data, 1, 4), (Ids{'e', 'f', 'g', 'h'}));
  EXPECT_EQ(data->dropped_tokens(), 1U);
}

TEST_F(PackedRows, OnlyCompletionsAreLearnedAndEachHasItsOwnRow) {
  const auto data = open("a.jsonl",
                         "{\"prompt\":\"ab\",\"completion\":\"cd\"}\n"
                         "{\"prompt\":\"x\",\"completion\":\"yzyzyz\"}\n"
                         "{\"prompt\":\"longer than a row\",\"completion\":\"!\"}\n",
                         5, Packing::automatic);
  ASSERT_TRUE(data) << data.error().message();
  ASSERT_EQ(data->windows(), 2U) << "a row without a token to learn is left out";
  EXPECT_EQ(ids(*data, 0, 5), (Ids{'a', 'b', 'c', 'd', 0}));
  EXPECT_EQ(targets(*data, 0, 5), (Ids{no, 'c', 'd', 0, no}));
  EXPECT_EQ(ids(*data, 1, 5), (Ids{'x', 'y', 'z', 'y', 'z'}));
  EXPECT_EQ(targets(*data, 1, 5), (Ids{'y', 'z', 'y', 'z', 'y'}));
  EXPECT_EQ(data->dropped_tokens(), 2U + 19U);
}

TEST_F(PackedRows, CompletionsCanBeJoinedAndKeepTheirMasks) {
  const auto data = open("a.jsonl",
                         "{\"prompt\":\"ab\",\"completion\":\"c\"}\n"
                         "{\"prompt\":\"d\",\"completion\":\"ef\"}\n",
                         7, Packing::join);
  ASSERT_TRUE(data) << data.error().message();
  EXPECT_EQ(ids(*data, 0, 7), (Ids{'a', 'b', 'c', 0, 'd', 'e', 'f'}));
  EXPECT_EQ(targets(*data, 0, 7), (Ids{no, 'c', 0, no, 'e', 'f', 0}));
}

TEST_F(PackedRows, LabelsSayWhatIsLearned) {
  const auto data = open("a.jsonl", "{\"input_ids\":[1,2,3,4],\"labels\":[-100,-100,3,4]}\n", 4,
                         Packing::automatic);
  ASSERT_TRUE(data) << data.error().message();
  EXPECT_EQ(ids(*data, 0, 4), (Ids{1, 2, 3, 4}));
  EXPECT_EQ(targets(*data, 0, 4), (Ids{no, 3, 4, no}));
}

TEST_F(PackedRows, BadRecordsAreNamedByFileAndLine) {
  const std::pair<const char*, const char*> rows[] = {
      {"{\"prompt\":\"a\"}", "\"completion\""},
      {"{\"completion\":\"a\"}", "\"prompt\""},
      {"{\"prompt\":\"a\",\"completion\":\"\"}", "no tokens"},
      {"{\"prompt\":1,\"completion\":\"b\"}", "is no text"},
      {"{\"text\":\"a\",\"prompt\":\"b\",\"completion\":\"c\"}", "exclude"},
      {"{\"input\":\"a\",\"target\":\"b\"}", "encoder-decoder"},
      {"{\"input_ids\":[1,2],\"labels\":[1]}", "2 input_ids and 1 labels"},
      {"{\"input_ids\":[1,2],\"labels\":[1,3]}", "label 3 at position 1"},
      {"{\"input_ids\":[1,-2]}", "-2 is no token id"},
      {"{\"input_ids\":[1,256]}", "256 at position 1"},
      {"{\"input_ids\":\"x\"}", "is no list"},
      {"{\"text\":7}", "is no text"},
      {"[1]", "no object"},
      {"{\"text\":\"a\"", "parse"},
  };
  for (const auto& [line, why] : rows) {
    const auto data =
        open("bad.jsonl", std::string("{\"text\":\"fine\"}\n\n") + line + "\n", 2, Packing::join);
    ASSERT_FALSE(data) << line;
    EXPECT_NE(data.error().message().find(why), std::string::npos) << data.error().message();
    EXPECT_NE(data.error().message().find("bad.jsonl, line 3"), std::string::npos)
        << data.error().message();
  }
}

TEST_F(PackedRows, ABatchThatIsNeverFullIsRefused) {
  EXPECT_EQ(open("a.jsonl", two_, 1, Packing::join, 0, 3)->windows(), 3U) << "of four rows";
  const auto refused = open("a.jsonl", two_, 1, Packing::join, 0, 5);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("batch of 5"), std::string::npos)
      << refused.error().message();
}

}  // namespace
}  // namespace fathom::models
