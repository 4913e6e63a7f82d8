// SPDX-License-Identifier: Apache-2.0
#include "swap/block_hash.hpp"

#include <algorithm>
#include <random>
#include <set>

#include <gtest/gtest.h>

namespace fathom::swap {
namespace {

std::vector<std::byte> random_bytes(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// One chunk whose m is three blocks and a bit.
Layout small_layout() {
  return Layout::build({.unit_elements = {2 * 225 * 4096},
                        .chunk_elements = 225 * 4096,
                        .sections = split_bf16_sections});
}

TEST(BlockSeed, DiffersForEveryChunkSectionGenerationAndBlock) {
  std::set<std::uint64_t> seeds;
  std::size_t count = 0;
  for (const ChunkId chunk : {0U, 1U, 2U, 256U, 65536U})
    for (const Section section : all_sections)
      for (std::uint64_t generation = 0; generation < 8; ++generation)
        for (std::uint64_t block = 0; block < 8; ++block, ++count)
          seeds.insert(block_seed(chunk, section, generation, block));
  EXPECT_EQ(seeds.size(), count);
}

TEST(BlockHash, DependsOnItsSeed) {
  const std::vector<std::byte> bytes = random_bytes(4096, 1);
  EXPECT_EQ(block_hash(bytes, 5), block_hash(bytes, 5));
  EXPECT_NE(block_hash(bytes, 5), block_hash(bytes, 6));
}

class BlockHashesTest : public testing::Test {
 protected:
  ThreadPool pool_{2};
  Layout layout_ = small_layout();
  BlockHashes hashes_{layout_, Verify::full};
  std::vector<std::byte> bytes_ = random_bytes(layout_.padded_bytes(0, Section::m), 7);
};

TEST_F(BlockHashesTest, AcceptsWhatWasRecorded) {
  hashes_.record(0, Section::m, 1, bytes_, pool_);
  EXPECT_FALSE(hashes_.check(0, Section::m, 1, bytes_, pool_));
}

TEST_F(BlockHashesTest, NamesTheFirstBlockThatDiffersAndCountsThemAll) {
  hashes_.record(0, Section::m, 1, bytes_, pool_);
  bytes_[MiB + 17] ^= std::byte{4};
  bytes_[bytes_.size() - 1] ^= std::byte{128};
  const auto bad = hashes_.check(0, Section::m, 1, bytes_, pool_);
  ASSERT_TRUE(bad);
  EXPECT_EQ(bad->block, 1U);
  EXPECT_EQ(bad->bad, 2U);
  EXPECT_EQ(bad->looked_at, 4U);
  EXPECT_NE(bad->expected, bad->found);
}

TEST_F(BlockHashesTest, RefusesTheSameBytesOfAnotherGenerationOrBlock) {
  hashes_.record(0, Section::m, 3, bytes_, pool_);
  EXPECT_FALSE(hashes_.check(0, Section::m, 3, bytes_, pool_));
  EXPECT_TRUE(hashes_.check(0, Section::m, 2, bytes_, pool_));
  // Whole blocks that changed places are intact as bytes, and still not what belongs there.
  std::vector<std::byte> swapped = bytes_;
  std::swap_ranges(swapped.begin(), swapped.begin() + MiB, swapped.begin() + MiB);
  const auto bad = hashes_.check(0, Section::m, 3, swapped, pool_);
  ASSERT_TRUE(bad);
  EXPECT_EQ(bad->bad, 2U);
}

TEST_F(BlockHashesTest, SamplesEveryPositionOnceInSixteenGenerations) {
  const Layout layout = Layout::build(
      {.unit_elements = {10 * MiB}, .chunk_elements = 10 * MiB, .sections = weights32_sections});
  BlockHashes hashes(layout, Verify::sampled);
  std::vector<std::byte> bytes(layout.padded_bytes(0, Section::W));
  std::vector<int> noticed(40, 0);
  for (std::uint64_t generation = 1; generation <= 16; ++generation) {
    hashes.record(0, Section::W, generation, bytes, pool_);
    EXPECT_FALSE(hashes.check(0, Section::W, generation, bytes, pool_));
    for (std::size_t block = 0; block < noticed.size(); ++block) {
      bytes[block * MiB] = std::byte{1};
      if (hashes.check(0, Section::W, generation, bytes, pool_)) ++noticed[block];
      bytes[block * MiB] = std::byte{0};
    }
  }
  EXPECT_EQ(noticed, std::vector<int>(40, 1));
}

TEST_F(BlockHashesTest, SamplingLooksAtASectionOfOneBlockEveryTime) {
  const Layout layout = Layout::build(
      {.unit_elements = {4096}, .chunk_elements = 4096, .sections = weights16_sections});
  BlockHashes hashes(layout, Verify::sampled);
  std::vector<std::byte> bytes = random_bytes(layout.padded_bytes(0, Section::W), 3);
  hashes.record(0, Section::W, 5, bytes, pool_);
  bytes[0] ^= std::byte{1};
  EXPECT_TRUE(hashes.check(0, Section::W, 5, bytes, pool_));
}

TEST_F(BlockHashesTest, OffRecordsAndChecksNothing) {
  BlockHashes hashes(layout_, Verify::off);
  hashes.record(0, Section::m, 1, bytes_, pool_);
  bytes_[0] ^= std::byte{1};
  EXPECT_FALSE(hashes.check(0, Section::m, 1, bytes_, pool_));
}

}  // namespace
}  // namespace fathom::swap
