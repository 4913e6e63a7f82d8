// SPDX-License-Identifier: Apache-2.0
//
// The durable store's metadata: what is written reads back, anything else is refused.
#include "swap/store_format.hpp"

#include <gtest/gtest.h>

#include "swap/block_hash.hpp"
#include "swap/durable.hpp"

namespace fathom::swap {
namespace {

Superblock superblock() {
  return {.id = StoreId{{1, 2, 3}},
          .chunk_elements = durable_chunk,
          .sections = split_bf16_sections,
          .unit_elements = {durable_chunk + durable_tail, durable_chunk},
          .chunk_paths = {0, 1, 1},
          .paths = 2,
          .description = "a description"};
}

Record record() {
  const Layout layout = layout_of(superblock());
  Record record{.id = StoreId{{1, 2, 3}},
                .sequence = 9,
                .state = state_of_step(7),
                .slots = {},
                .hashes = std::vector<std::uint64_t>(block_count(layout), 0x1234)};
  for (std::size_t i = 0; i < layout.chunks().size() * section_count; ++i)
    record.slots.push_back({i + 1, static_cast<std::uint8_t>(i % 2)});
  return record;
}

Result<Record> decode(std::span<const std::byte> bytes) {
  const Layout layout = layout_of(superblock());
  return decode_record(bytes, layout, block_count(layout), StoreId{{1, 2, 3}}, "the journal");
}

// No shorter piece and no other byte anywhere is accepted; what is refused names its place.
template <class Decode>
void expect_every_change_is_refused(const std::vector<std::byte>& good, std::size_t used,
                                    Decode decoded) {
  ASSERT_TRUE(decoded(std::span(good)));
  for (std::size_t size = 0; size < used; ++size) {
    const auto cut = decoded(std::span(good).first(size));
    ASSERT_FALSE(cut) << size;
    ASSERT_NE(cut.error().message().find("the journal"), std::string::npos);
  }
  std::vector<std::byte> changed = good;
  for (std::size_t i = 0; i < used; ++i) {
    changed[i] ^= std::byte{0x10};
    ASSERT_FALSE(decoded(std::span<const std::byte>(changed))) << i;
    changed[i] = good[i];
  }
}

TEST(StoreFormat, SuperblockReadsBack) {
  const std::vector<std::byte> bytes = encode(superblock());
  EXPECT_EQ(bytes.size() % io_alignment, 0U);
  const auto length = superblock_bytes(std::span(bytes).first(io_alignment), "the journal");
  ASSERT_TRUE(length);
  EXPECT_EQ(*length, bytes.size());
  const auto read = decode_superblock(bytes, "the journal");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(encode(*read), bytes);
  EXPECT_EQ(read->description, "a description");
  EXPECT_EQ(read->chunk_paths, superblock().chunk_paths);
  expect_every_change_is_refused(bytes, 117, [](std::span<const std::byte> some) {
    return decode_superblock(some, "the journal");
  });
}

TEST(StoreFormat, RecordReadsBack) {
  std::vector<std::byte> bytes;
  encode(record(), bytes);
  const Layout layout = layout_of(superblock());
  EXPECT_EQ(bytes.size(), record_bytes(layout, block_count(layout)));
  const auto read = decode(bytes);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(*read, record());
  const std::size_t used =
      40 + 72 + 8 * (layout.chunks().size() * section_count + block_count(layout)) + 8;
  expect_every_change_is_refused(bytes, used,
                                 [](std::span<const std::byte> some) { return decode(some); });
}

TEST(StoreFormat, OwnerReadsBack) {
  const Owner owner = this_process(StoreId::random(), 3, "/runs/a");
  const std::vector<std::byte> block = encode(owner);
  const auto read = decode_owner(block, "the journal");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(*read, owner);
  expect_every_change_is_refused(block, owner_bytes, [](std::span<const std::byte> some) {
    return decode_owner(some, "the journal");
  });
}

TEST(StoreFormat, DataHeaderReadsBack) {
  const DataHeader header{.id = StoreId{{9}}, .path = 4, .slot_bytes = 1 << 30};
  const std::vector<std::byte> block = encode(header);
  const auto read = decode_data_header(block, "the journal");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(*read, header);
  expect_every_change_is_refused(block, 60, [](std::span<const std::byte> some) {
    return decode_data_header(some, "the journal");
  });
}

TEST(StoreFormat, RefusesARecordOfAnotherStore) {
  Record other = record();
  other.id = StoreId{{7}};
  std::vector<std::byte> bytes;
  encode(other, bytes);
  const auto read = decode(bytes);
  ASSERT_FALSE(read);
  EXPECT_TRUE(mentions(read.error(), {"another store"}));
}

TEST(StoreFormat, RefusesASectionThatNobodyWrote) {
  Record hole = record();
  hole.slots[5].generation = 0;
  std::vector<std::byte> bytes;
  encode(hole, bytes);
  const auto read = decode(bytes);
  ASSERT_FALSE(read);
  EXPECT_TRUE(mentions(read.error(), {"does not hold every section"}));
}

// Checksums are no protection from who can compute them: the values are checked, too.
TEST(StoreFormat, RefusesSealedNonsense) {
  const auto refused = [](auto change, const char* why) {
    Superblock bad = superblock();
    change(bad);
    const auto read = decode_superblock(encode(bad), "the journal");
    ASSERT_FALSE(read) << why;
    EXPECT_TRUE(mentions(read.error(), {why, "the journal"}));
  };
  refused([](Superblock& bad) { bad.chunk_elements = 0; }, "chunk size");
  refused([](Superblock& bad) { bad.chunk_elements = 5000; }, "chunk size");
  refused([](Superblock& bad) { bad.paths = 0; }, "number of paths");
  refused([](Superblock& bad) { bad.chunk_paths[1] = 2; }, "has no path");
  refused([](Superblock& bad) { bad.chunk_paths.pop_back(); }, "not made of its chunks");
  refused([](Superblock& bad) { bad.unit_elements[0] = std::uint64_t{1} << 60; },
          "impossibly large");
  refused([](Superblock& bad) { bad.sections.bytes[2] = 200; }, "impossibly wide");
}

}  // namespace
}  // namespace fathom::swap
