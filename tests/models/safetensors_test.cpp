// SPDX-License-Identifier: Apache-2.0
#include "models/safetensors.hpp"

#include <cstdint>
#include <numeric>
#include <thread>

#include <gtest/gtest.h>

#include "fixtures.hpp"
#include "models/safetensors_writer.hpp"

namespace fathom::models {
namespace {

std::string file_with(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  file += header;
  for (std::size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
  return file;
}

class Safetensors : public testing::Test {
 protected:
  std::string refusal(const std::string& header, std::size_t data_bytes) {
    const auto reader =
        SafetensorsReader::open(directory_.write("x.safetensors", file_with(header, data_bytes)));
    return reader ? std::string("accepted") : reader.error().message();
  }
  TemporaryDirectory directory_;
};

TEST_F(Safetensors, ListsAndReadsSlicesInAnyOrder) {
  const std::string header =
      R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[8,12]},"__metadata__":{"format":"pt"},)"
      R"("a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}   )";
  const auto reader =
      SafetensorsReader::open(directory_.write("x.safetensors", file_with(header, 12)));
  ASSERT_TRUE(reader) << reader.error().message();
  ASSERT_EQ(reader->tensors().size(), 2U);
  EXPECT_EQ(reader->tensors()[0].name, "a");
  EXPECT_EQ(reader->tensors()[0].shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(reader->tensors()[0].offset, 8 + header.size());
  std::array<std::byte, 3> bytes{};
  ASSERT_TRUE(reader->read(**reader->require("b"), 1, bytes));
  EXPECT_EQ(bytes, (std::array{std::byte{9}, std::byte{10}, std::byte{11}}));
  const auto beyond = reader->read(*reader->find("b"), 2, bytes);
  ASSERT_FALSE(beyond);
  EXPECT_NE(beyond.error().message().find("\"b\""), std::string::npos);
  EXPECT_FALSE(reader->read(*reader->find("b"), ~0ULL, std::span(bytes).first(0)));
  EXPECT_EQ(reader->find("c"), nullptr);
  EXPECT_EQ(reader->require("c").error().code(), Errc::not_found);
}

TEST_F(Safetensors, AcceptsEmptyTensorsScalarsAndNoTensors) {
  EXPECT_EQ(refusal("{}", 0), "accepted");
  EXPECT_EQ(refusal(R"({"e":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]},)"
                    R"("s":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
                    R"("z":{"dtype":"BF16","shape":[4,0],"data_offsets":[8,8]}})",
                    8),
            "accepted");
  // A zero size makes the product zero however large the others are.
  EXPECT_EQ(refusal(R"({"e":{"dtype":"F32","shape":[4611686018427387904,4611686018427387904,0],)"
                    R"("data_offsets":[0,0]}})",
                    0),
            "accepted");
}

TEST_F(Safetensors, RefusesDamagedHeaders) {
  const auto one = [](const std::string& dtype, const std::string& shape,
                      const std::string& offsets) {
    return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}}";
  };
  const auto expect = [&](const std::string& header, std::size_t bytes, const std::string& why) {
    const std::string text = refusal(header, bytes);
    EXPECT_NE(text.find(why), std::string::npos) << header << " gave: " << text;
    EXPECT_NE(text.find("x.safetensors"), std::string::npos) << text;
  };
  expect(one("F32", "[2]", "[0,8]"), 9, "the tensors end at 8");
  expect(one("F32", "[2]", "[0,8]"), 7, "\"t\"");
  expect(one("F32", "[2]", "[0,4]"), 4, "dtype and shape need 8");
  expect(one("F32", "[2]", "[8,0]"), 8, "ends before it begins");
  expect(one("F32", "[1]", "[4,8]"), 8, "hole");
  expect(one("F32", "[-1]", "[0,4]"), 4, "not a whole number");
  expect(one("F32", "[1.0]", "[0,4]"), 4, "not a whole number");
  expect(one("F32", "[9223372036854775807,16]", "[0,4]"), 4, "overflows");
  expect(one("F32", "[18446744073709551615]", "[0,4]"), 4, "not a whole number");
  expect(one("X32", "[1]", "[0,4]"), 4, "unknown");
  expect(one("F4", "[3]", "[0,2]"), 2, "whole bytes");
  expect(one("F32", "[1]", "[0,4,8]"), 4, "pair");
  expect(one("F32", "[1]", "[0,-4]"), 4, "pair");
  expect(one("F32", "{}", "[0,4]"), 4, "shape");
  expect(R"({"t":3})", 0, "not an object");
  expect(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1, "keys beyond");
  expect(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
         R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
         3, "overlap");
  expect(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
         R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
         2, "twice");
  expect(R"({"__metadata__":{"a":1}})", 0, "__metadata__");
  expect(" {}", 0, "begin with {");
  expect("[]", 0, "begin with {");
  expect("{", 0, "parse");
  expect("", 0, "begin with {");
}

TEST_F(Safetensors, RefusesLengthsBeyondTheFileOrTheLimit) {
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{100'000'001}, ~std::uint64_t{0}}) {
    std::string file(8, '\0');
    std::memcpy(file.data(), &length, 8);
    file += "{}";
    const auto reader = SafetensorsReader::open(directory_.write("x.safetensors", file));
    ASSERT_FALSE(reader);
    EXPECT_NE(reader.error().message().find("header's length"), std::string::npos);
  }
  EXPECT_FALSE(SafetensorsReader::open(directory_.write("y.safetensors", "1234567")));
  EXPECT_EQ(SafetensorsReader::open(directory_.path() / "z.safetensors").error().code(),
            Errc::not_found);
  EXPECT_EQ(SafetensorsReader::open(directory_.path() / "none").error().code(), Errc::not_found);
}

TEST_F(Safetensors, EveryPrefixOfAFileIsRefused) {
  const std::string whole =
      file_with(R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(
        SafetensorsReader::open(directory_.write("x.safetensors", whole.substr(0, length))))
        << length;
  }
  EXPECT_TRUE(SafetensorsReader::open(directory_.write("x.safetensors", whole)));
}

TEST_F(Safetensors, NoSingleFlippedByteIsMoreThanAnError) {
  const std::string whole = file_with(
      R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"u":{"dtype":"U8","shape":[],"data_offsets":[8,9]}})",
      9);
  int refused = 0;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      const auto reader = SafetensorsReader::open(directory_.write("x.safetensors", damaged));
      if (!reader) {
        ++refused;
        continue;
      }
      for (const TensorInfo& tensor : reader->tensors()) {
        EXPECT_LE(tensor.offset + tensor.bytes, damaged.size());
      }
    }
  }
  EXPECT_GT(refused, 300);
}

TEST_F(Safetensors, AnIndexDecidesWhichShardHoldsATensor) {
  const auto tensor = [](const char* name) {
    return std::string("\"") + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  };
  directory_.write("1.safetensors", file_with("{" + tensor("a") + "}", 1));
  directory_.write("2.safetensors", file_with("{" + tensor("b") + "}", 1));
  const auto open = [&](const std::string& index) {
    directory_.write("model.safetensors.index.json", index);
    return SafetensorsReader::open(directory_.path());
  };
  const auto good = open(R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  ASSERT_TRUE(good) << good.error().message();
  EXPECT_EQ(good->files().size(), 2U);
  EXPECT_NE(good->find("b"), nullptr);
  const auto misplaced = open(R"({"weight_map":{"a":"2.safetensors","b":"2.safetensors"}})");
  ASSERT_FALSE(misplaced);
  EXPECT_NE(misplaced.error().message().find("\"a\""), std::string::npos);
  const auto absent =
      open(R"({"weight_map":{"a":"3.safetensors","b":"2.safetensors","c":"4.safetensors"}})");
  ASSERT_FALSE(absent);
  EXPECT_NE(absent.error().message().find("3.safetensors, 4.safetensors"), std::string::npos)
      << "every missing file is named: " << absent.error().message();
  EXPECT_FALSE(open(R"({"weight_map":{"a":"../1.safetensors"}})"));
  EXPECT_FALSE(open(R"({"weight_map":{"a":"/etc/passwd"}})"));
  EXPECT_FALSE(open(R"({"weight_map":{"a":7}})"));
  EXPECT_FALSE(open(R"({})"));
  EXPECT_FALSE(open(R"([])"));
}

std::vector<TensorDeclaration> declarations() {
  return {{"first", Dtype::f32, {3, 5}},
          {"empty", Dtype::bf16, {0}},
          {"second", Dtype::bf16, {7}},
          {"scalar", Dtype::i64, {}},
          {"odd \"name\"", Dtype::u8, {9}}};
}
constexpr std::size_t declared_bytes = 60 + 0 + 14 + 8 + 9;

std::vector<std::byte> some_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i * 37 + 11);
  return bytes;
}

TEST_F(Safetensors, WhatIsWrittenInPiecesIsReadBackFromOneFileOrMany) {
  const std::vector<std::byte> bytes = some_bytes(declared_bytes);
  for (const std::uint64_t shard : {1000U, 64U, 16U, 1U}) {
    for (const std::size_t piece : {1U, 7U, 1000U}) {
      const std::filesystem::path out =
          directory_.path() / (std::to_string(shard) + "-" + std::to_string(piece));
      auto writer = SafetensorsWriter::create_directory(out, declarations(), shard);
      ASSERT_TRUE(writer) << writer.error().message();
      EXPECT_EQ(writer->total_bytes(), declared_bytes);
      for (std::size_t at = 0; at < bytes.size(); at += piece) {
        ASSERT_TRUE(
            writer->append(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at))));
      }
      ASSERT_FALSE(SafetensorsReader::open(out)) << "nothing is visible before finish";
      const auto finished = writer->finish();
      ASSERT_TRUE(finished) << finished.error().message();
      const auto reader = SafetensorsReader::open(out);
      ASSERT_TRUE(reader) << reader.error().message();
      EXPECT_EQ(reader->files().size() > 1, shard < declared_bytes);
      std::size_t at = 0;
      for (const TensorDeclaration& declared : declarations()) {
        const TensorInfo* tensor = reader->find(declared.name);
        ASSERT_NE(tensor, nullptr) << declared.name;
        EXPECT_EQ(tensor->shape, declared.shape);
        EXPECT_EQ(tensor->dtype, declared.dtype);
        std::vector<std::byte> back(tensor->bytes);
        ASSERT_TRUE(reader->read(*tensor, 0, back));
        EXPECT_TRUE(std::ranges::equal(back, std::span(bytes).subspan(at, back.size())));
        at += back.size();
      }
      EXPECT_EQ(at, declared_bytes);
      for (const auto& entry : std::filesystem::directory_iterator(out)) {
        EXPECT_NE(entry.path().extension(), ".partial");
      }
    }
  }
}

TEST_F(Safetensors, AWriterThatIsNotFinishedLeavesNothing) {
  const std::vector<std::byte> bytes = some_bytes(declared_bytes);
  const std::filesystem::path out = directory_.path() / "out";
  {
    auto writer = SafetensorsWriter::create_directory(out, declarations(), 16);
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->append(std::span(bytes).first(70)));
    const auto early = writer->finish();
    ASSERT_FALSE(early);
    EXPECT_NE(early.error().message().find("never given"), std::string::npos);
  }
  EXPECT_TRUE(std::filesystem::is_empty(out));
}

TEST_F(Safetensors, AWriterRefusesTooManyBytesDuplicatesAndUsedDirectories) {
  const std::vector<std::byte> bytes = some_bytes(declared_bytes + 1);
  auto writer = SafetensorsWriter::create_file(directory_.path() / "a.safetensors", declarations());
  ASSERT_TRUE(writer);
  EXPECT_FALSE(writer->append(bytes));
  EXPECT_FALSE(SafetensorsWriter::create_file(directory_.path() / "b.safetensors",
                                              {{"t", Dtype::u8, {1}}, {"t", Dtype::u8, {1}}}));
  EXPECT_FALSE(SafetensorsWriter::create_file(directory_.path() / "b.safetensors",
                                              {{"t", Dtype::u8, {-1}}}));
  EXPECT_FALSE(SafetensorsWriter::create_file(directory_.path() / "no/such/b.safetensors",
                                              {{"t", Dtype::u8, {1}}}));
  directory_.write("model.safetensors", "x");
  EXPECT_FALSE(SafetensorsWriter::create_directory(directory_.path(), declarations(), 1000));
}

TEST_F(Safetensors, DataBeginsAtAMultipleOfEightBytes) {
  const std::filesystem::path file = directory_.path() / "a.safetensors";
  for (std::size_t length = 1; length < 10; ++length) {
    auto writer =
        SafetensorsWriter::create_file(file, {{std::string(length, 'n'), Dtype::f32, {1}}});
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->append(some_bytes(4)));
    ASSERT_TRUE(writer->finish());
    const auto reader = SafetensorsReader::open(file);
    ASSERT_TRUE(reader);
    EXPECT_EQ(reader->tensors()[0].offset % 8, 0U);
  }
}

TEST_F(Safetensors, SeveralThreadsReadAtOnce) {
  const std::filesystem::path file = directory_.path() / "a.safetensors";
  const std::vector<std::byte> bytes = some_bytes(100'000);
  auto writer = SafetensorsWriter::create_file(file, {{"t", Dtype::u8, {100'000}}});
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->append(bytes));
  ASSERT_TRUE(writer->finish());
  const auto reader = SafetensorsReader::open(file);
  ASSERT_TRUE(reader);
  std::vector<std::byte> back(bytes.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        const auto part = std::span(back).subspan(i * 25'000, 25'000);
        EXPECT_TRUE(reader->read(reader->tensors()[0], i * 25'000, part));
      });
    }
  }
  EXPECT_EQ(back, bytes);
}

TEST_F(Safetensors, ShardsOfAReferenceModelHoldTheSameBytesAsOneFile) {
  FATHOM_NEEDS_SHARED("models/tiny-random/llama-sharded");
  const auto models = shared_path() / "models/tiny-random";
  const auto whole = SafetensorsReader::open(models / "llama");
  const auto shards = SafetensorsReader::open(models / "llama-sharded");
  ASSERT_TRUE(whole && shards);
  ASSERT_EQ(whole->tensors().size(), shards->tensors().size());
  for (const TensorInfo& tensor : whole->tensors()) {
    const TensorInfo* other = shards->find(tensor.name);
    ASSERT_NE(other, nullptr);
    std::vector<std::byte> a(tensor.bytes), b(other->bytes);
    ASSERT_TRUE(whole->read(tensor, 0, a) && shards->read(*other, 0, b));
    EXPECT_EQ(a, b) << tensor.name;
  }
}

}  // namespace
}  // namespace fathom::models
