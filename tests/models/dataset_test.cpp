// SPDX-License-Identifier: Apache-2.0
#include "models/dataset.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include <gtest/gtest.h>

#include "fixtures.hpp"

namespace fathom::models {
namespace {

class DatasetFiles : public testing::Test {
 protected:
  Result<Dataset> open(const std::filesystem::path& path, DatasetOptions options) {
    return Dataset::open(path, bytes_, options);
  }
  std::string refusal(const std::filesystem::path& path, DatasetOptions options) {
    const auto data = open(path, options);
    return data ? std::string("accepted") : data.error().message();
  }
  static std::vector<std::int64_t> window(const Dataset& data, std::uint64_t index,
                                          std::uint64_t length) {
    std::vector<std::int64_t> ids(length);
    data.window(index, ids);
    return ids;
  }
  template <class T>
  std::filesystem::path write_ids(const std::string& name, const std::vector<T>& ids) {
    return directory_.write(
        name, std::string_view(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(T)));
  }
  TemporaryDirectory directory_;
  Tokenizer bytes_ = Tokenizer::bytes();
};

TEST_F(DatasetFiles, WindowsAreDisjointInFileOrderAndWrapAround) {
  const auto data =
      open(directory_.write("a.txt", "abcdefghijk"), {.sequence_length = 3, .vocabulary = 256});
  ASSERT_TRUE(data) << data.error().message();
  EXPECT_EQ(data->tokens(), 11U);
  EXPECT_EQ(data->windows(), 2U);
  EXPECT_EQ(data->dropped_tokens(), 3U);
  EXPECT_EQ(data->memory_bytes(), 22U);
  EXPECT_EQ(window(*data, 0, 4), (std::vector<std::int64_t>{'a', 'b', 'c', 'd'}));
  EXPECT_EQ(window(*data, 1, 4), (std::vector<std::int64_t>{'e', 'f', 'g', 'h'}));
  EXPECT_EQ(window(*data, 2, 4), window(*data, 0, 4));
  EXPECT_EQ(window(*data, 1'000'001, 4), window(*data, 1, 4));
}

TEST_F(DatasetFiles, JsonLinesGiveTheirTexts) {
  const auto data = open(
      directory_.write("a.jsonl",
                       "{\"text\":\"ab\"}\n\n{\"text\":\"c\\u00e9\",\"id\":7}\r\n{\"text\":\"d\"}"),
      {.sequence_length = 5, .vocabulary = 256});
  ASSERT_TRUE(data) << data.error().message();
  EXPECT_EQ(window(*data, 0, 6), (std::vector<std::int64_t>{'a', 'b', 'c', 0xC3, 0xA9, 'd'}));
  for (const char* bad : {"{\"text\":\"a\"}\n{\"txt\":\"b\"}\n", "{\"text\":\"a\"}\n[1]\n",
                          "{\"text\":\"a\"}\n{\n", "{\"text\":\"a\"}\n{\"text\":5}\n"}) {
    const std::string text =
        refusal(directory_.write("b.jsonl", bad), {.sequence_length = 1, .vocabulary = 256});
    EXPECT_NE(text.find("line 2"), std::string::npos) << text;
  }
}

TEST_F(DatasetFiles, BinaryIdsAreReadInBothWidths) {
  std::vector<std::uint16_t> narrow(700'001);
  std::iota(narrow.begin(), narrow.end(), std::uint16_t{0});
  const auto data = open(write_ids("a.bin", narrow), {.sequence_length = 9, .vocabulary = 65536});
  ASSERT_TRUE(data) << data.error().message();
  EXPECT_EQ(data->tokens(), narrow.size());
  EXPECT_EQ(data->memory_bytes(), narrow.size() * 2);
  const auto last = window(*data, data->windows() - 1, 10);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(last[i], narrow[(data->windows() - 1) * 10 + i]);

  const std::vector<std::uint32_t> wide = {1, 70'000, 3, 4};
  const auto file = write_ids("b.bin", wide);
  const auto large = open(file, {.sequence_length = 3, .vocabulary = 100'000, .wide = true});
  ASSERT_TRUE(large);
  EXPECT_EQ(window(*large, 0, 4), (std::vector<std::int64_t>{1, 70'000, 3, 4}));
  EXPECT_EQ(large->memory_bytes(), 16U);
}

TEST_F(DatasetFiles, AnIdBeyondTheVocabularyIsNamedWithItsPosition) {
  const std::string text = refusal(write_ids<std::uint16_t>("a.bin", {1, 2, 3, 512, 5}),
                                   {.sequence_length = 1, .vocabulary = 512});
  EXPECT_NE(text.find("token 512 at position 3"), std::string::npos) << text;
  const std::string letter =
      refusal(directory_.write("a.txt", "abz"), {.sequence_length = 1, .vocabulary = 'c' + 1});
  EXPECT_NE(letter.find("token 122 at position 2"), std::string::npos) << letter;
}

TEST_F(DatasetFiles, ADirectoryIsItsFilesInTheOrderOfTheirNames) {
  directory_.write("2.txt", "cd");
  write_ids<std::uint16_t>("3.bin", {'e', 'f'});
  directory_.write("1.jsonl", "{\"text\":\"ab\"}\n");
  std::filesystem::create_directory(directory_.path() / "0-inner");
  const auto data = open(directory_.path(), {.sequence_length = 5, .vocabulary = 256});
  ASSERT_TRUE(data) << data.error().message();
  EXPECT_EQ(window(*data, 0, 6), (std::vector<std::int64_t>{'a', 'b', 'c', 'd', 'e', 'f'}));
}

TEST_F(DatasetFiles, UnusableDataIsRefusedWithItsReason) {
  const DatasetOptions options{.sequence_length = 8, .vocabulary = 256};
  EXPECT_NE(refusal(directory_.path() / "none", options).find("no such"), std::string::npos);
  EXPECT_NE(refusal(directory_.path(), options).find("no regular file"), std::string::npos);
  EXPECT_NE(refusal(directory_.write("a.txt", ""), options).find("empty"), std::string::npos);
  EXPECT_NE(refusal(directory_.write("b.txt", "12345678"), options).find("fewer than one window"),
            std::string::npos);
  EXPECT_EQ(refusal(directory_.write("b.txt", "123456789"), options), "accepted");
  EXPECT_NE(refusal(directory_.write("c.bin", "123"), {.sequence_length = 8, .vocabulary = 65536})
                .find("multiple of 2"),
            std::string::npos);
}

TEST_F(DatasetFiles, ShufflingIsAPermutationOfEachPassThatTheSeedDecides) {
  std::string text;
  for (int i = 0; i < 101; ++i) {
    text += static_cast<char>(i);
    text += static_cast<char>(i);
  }
  const auto file = directory_.write("a.txt", text);
  const auto order = [&](std::uint64_t seed, std::uint64_t pass) {
    const auto data =
        open(file, {.sequence_length = 1, .vocabulary = 256, .shuffle = true, .seed = seed});
    std::vector<std::int64_t> ids;
    for (std::uint64_t i = 0; i < 101; ++i) {
      const auto pair = window(*data, pass * 101 + i, 2);
      EXPECT_EQ(pair[0], pair[1]);
      ids.push_back(pair[0]);
    }
    return ids;
  };
  const auto first = order(1, 0);
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), 101U);
  EXPECT_EQ(first, order(1, 0));
  EXPECT_NE(first, order(2, 0));
  EXPECT_NE(first, order(1, 1));
  EXPECT_FALSE(std::ranges::is_sorted(first));
}

TEST(Permutation, CoversEveryRangeOnce) {
  for (std::uint64_t count = 1; count < 300; ++count) {
    std::vector<bool> seen(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t place = permuted(i, count, 5, 0);
      ASSERT_LT(place, count);
      EXPECT_FALSE(seen[place]);
      seen[place] = true;
    }
  }
}

TEST_F(DatasetFiles, TextGoesThroughTheModelsTokenizer) {
  FATHOM_NEEDS_SHARED("models/tinystories-260k/tokenizer.json");
  FATHOM_NEEDS_SHARED("data/tinyshakespeare.txt");
  const auto tokenizer = Tokenizer::load(shared_path() / "models/tinystories-260k");
  ASSERT_TRUE(tokenizer);
  const auto file = shared_path() / "data/tinyshakespeare.txt";
  const auto data = Dataset::open(file, *tokenizer, {.sequence_length = 128, .vocabulary = 512});
  ASSERT_TRUE(data) << data.error().message();
  const auto ids = tokenizer->encode(read_all(file), false);
  EXPECT_EQ(data->tokens(), ids.size());
  EXPECT_LE(data->memory_bytes(), ids.size() * 2);
  const auto third = window(*data, 3, 129);
  EXPECT_TRUE(std::equal(third.begin(), third.end(), ids.begin() + 3 * 129));
}

}  // namespace
}  // namespace fathom::models
