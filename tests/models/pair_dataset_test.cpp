// SPDX-License-Identifier: Apache-2.0
#include "models/pair_dataset.hpp"

#include <vector>

#include <gtest/gtest.h>

#include "fixtures.hpp"

namespace fathom::models {
namespace {

using Ids = std::vector<std::int64_t>;

class Pairs : public testing::Test {
 protected:
  struct Record {
    Ids input, mask, decoder, labels;
  };
  static ModelSpec spec() {
    ModelSpec spec;
    spec.vocabulary = 256;
    spec.pad_token = 9;
    spec.decoder_start_token = 7;
    return spec;
  }
  Result<PairDataset> open(const char* text, bool shuffle = false) {
    return PairDataset::open(
        directory_.write("a.jsonl", text), bytes_, spec(),
        {.source_length = 4, .target_length = 3, .shuffle = shuffle, .seed = 5});
  }
  std::string refusal(const char* text) {
    const auto data = open(text);
    return data ? std::string("accepted") : data.error().message();
  }
  static Record record(const PairDataset& data, std::uint64_t index) {
    Record r{Ids(4), Ids(4), Ids(3), Ids(3)};
    data.record(index, {r.input, r.mask, r.decoder, r.labels});
    return r;
  }
  TemporaryDirectory directory_;
  Tokenizer bytes_ = Tokenizer::bytes();
};

TEST_F(Pairs, ArePaddedOnTheRightAndTheDecoderReadsTheLabelsMovedByOne) {
  const auto data =
      open("{\"input\":\"ab\",\"target\":\"x\"}\n\n{\"input\":\"c\",\"target\":\"uvw\"}");
  ASSERT_TRUE(data) << data.error().message();
  ASSERT_EQ(data->records(), 2U);
  EXPECT_EQ(data->dropped_tokens(), 0U);
  const Record first = record(*data, 0), second = record(*data, 1);
  EXPECT_EQ(first.input, (Ids{'a', 'b', 9, 9}));
  EXPECT_EQ(first.mask, (Ids{1, 1, 0, 0}));
  EXPECT_EQ(first.labels, (Ids{'x', -100, -100}));
  EXPECT_EQ(first.decoder, (Ids{7, 9, 9}));
  EXPECT_EQ(second.input, (Ids{'c', 9, 9, 9}));
  EXPECT_EQ(second.labels, (Ids{'u', 'v', 'w'}));
  EXPECT_EQ(second.decoder, (Ids{7, 'u', 'v'}));
  EXPECT_EQ(record(*data, 5).labels, second.labels) << "the end wraps to the first record";
}

TEST_F(Pairs, AreCutToTheirLengthsAndWhatIsCutIsCounted) {
  const auto data = open(R"({"input":"abcdefg","target":"uvwxy"})");
  ASSERT_TRUE(data) << data.error().message();
  EXPECT_EQ(data->dropped_tokens(), 3U + 2U);
  EXPECT_EQ(record(*data, 0).input, (Ids{'a', 'b', 'c', 'd'}));
  EXPECT_EQ(record(*data, 0).labels, (Ids{'u', 'v', 'w'}));
}

TEST_F(Pairs, ShufflingGivesEachRecordOnceAPass) {
  std::string text;
  for (char c = 'a'; c < 'k'; ++c) {
    text += std::string(R"({"input":")") + c + R"(","target":"x"})" + "\n";
  }
  const auto data = open(text.c_str(), true);
  ASSERT_TRUE(data) << data.error().message();
  for (const std::uint64_t pass : {0U, 1U}) {
    std::vector<bool> seen(10, false);
    for (std::uint64_t i = 0; i < 10; ++i) {
      seen[static_cast<std::size_t>(record(*data, pass * 10 + i).input[0] - 'a')] = true;
    }
    EXPECT_EQ(seen, std::vector<bool>(10, true));
  }
}

TEST_F(Pairs, RefuseWhatIsNoPairByLine) {
  EXPECT_NE(refusal("{\"input\":\"a\",\"target\":\"b\"}\n{\"text\":\"a\"}").find("line 2"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"input":"a","target":3})").find("line 1"), std::string::npos);
  EXPECT_NE(refusal(R"({"input":"","target":"b"})").find("no tokens"), std::string::npos);
  EXPECT_NE(refusal("\n").find("no record"), std::string::npos);
  const auto text = PairDataset::open(directory_.write("a.txt", "abc"), bytes_, spec(),
                                      {.source_length = 4, .target_length = 3});
  ASSERT_FALSE(text);
  EXPECT_NE(text.error().message().find("pairs"), std::string::npos);
}

}  // namespace
}  // namespace fathom::models
