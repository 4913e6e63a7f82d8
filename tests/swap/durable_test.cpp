// SPDX-License-Identifier: Apache-2.0
//
// The durable store: what was committed is what a later process finds, to the bit.
#include "swap/durable.hpp"

#include <gtest/gtest.h>

#include "swap/store.hpp"

namespace fathom::swap {
namespace {

class DurableStore : public testing::Test {
 protected:
  // A store that holds `step`, committed, and is closed again.
  void commit_step(std::int64_t step) {
    auto store = fixture_.jobs().empty() ? fixture_.create() : fixture_.reopen();
    ASSERT_TRUE(store) << store.error().message();
    ASSERT_TRUE(write_step(**store, step));
    const Result<void> done = (*store)->commit(state_of_step(step));
    ASSERT_TRUE(done) << done.error().message();
  }
  void expect_reopens_at(std::int64_t step) {
    {
      auto store = fixture_.reopen();
      ASSERT_TRUE(store) << store.error().message();
      ASSERT_NE((*store)->committed(), nullptr);
      EXPECT_EQ(*(*store)->committed(), state_of_step(step));
      const auto same = store_holds(**store, step);
      ASSERT_TRUE(same) << same.error().message();
      EXPECT_TRUE(*same);
    }
    const auto reader = fixture_.read();
    ASSERT_TRUE(reader) << reader.error().message();
    EXPECT_EQ(reader->record().state, state_of_step(step));
    EXPECT_EQ(reader->files().superblock().description, "what the engine says of it");
    const auto same = reader_holds(*reader, step);
    ASSERT_TRUE(same) << same.error().message();
    EXPECT_TRUE(*same);
  }

  DurableFixture fixture_;
};

TEST_F(DurableStore, ReopensAtTheCommittedStep) {
  commit_step(1);
  expect_reopens_at(1);
}

TEST_F(DurableStore, ForgetsWhatWasWrittenAfterTheCommit) {
  {
    auto store = fixture_.create();
    ASSERT_TRUE(store);
    ASSERT_TRUE(write_step(**store, 1));
    ASSERT_TRUE((*store)->commit(state_of_step(1)));
    // Twice, so that a second write of the same interval finds the slot of the first.
    ASSERT_TRUE(write_step(**store, 2));
    ASSERT_TRUE(write_step(**store, 3));
    const auto same = store_holds(**store, 3);
    ASSERT_TRUE(same);
    EXPECT_TRUE(*same) << "the run itself sees what it wrote last";
  }
  expect_reopens_at(1);
}

TEST_F(DurableStore, GoesOnFromACommitThroughManyMore) {
  for (const std::int64_t step : {1, 2, 3, 7}) commit_step(step);
  expect_reopens_at(7);
}

TEST_F(DurableStore, CommitsSectionsThatWereWrittenAtDifferentTimes) {
  {
    auto store = fixture_.create();
    ASSERT_TRUE(store);
    ASSERT_TRUE(write_step(**store, 1));
    ASSERT_TRUE((*store)->commit(state_of_step(1)));
    // Only some sections change; the others stay in the slot where they are.
    ASSERT_TRUE(write_sections(**store, 0, mask(Section::lo) | mask(Section::v), 2));
    ASSERT_TRUE((*store)->commit(state_of_step(2)));
    ASSERT_TRUE(write_sections(**store, 0, mask(Section::lo), 3));
    ASSERT_TRUE((*store)->commit(state_of_step(3)));
  }
  auto store = fixture_.reopen();
  ASSERT_TRUE(store);
  const Layout& layout = (*store)->layout();
  Buffer buffer(layout.padded_bytes(0, 15));
  ASSERT_TRUE((*store)->transfer_and_wait({.chunk = 0, .sections = 15, .buffer = buffer.data()}));
  const std::array<std::int64_t, section_count> steps = {1, 3, 1, 2};
  for (const Section section : all_sections)
    EXPECT_TRUE(
        holds(buffer.slice(layout.buffer_offset(0, 15, section), layout.payload_bytes(0, section)),
              stamp_of(steps[index(section)], 0, section)))
        << to_string(section);
}

TEST_F(DurableStore, NeverWritesOverWhatIsCommitted) {
  commit_step(1);
  auto reader = fixture_.read();
  ASSERT_TRUE(reader);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> committed;  // offset, bytes
  std::vector<std::vector<std::byte>> before;
  for (ChunkId chunk = 0; chunk < reader->layout().chunks().size(); ++chunk)
    for (const Section section : all_sections)
      committed.emplace_back(reader->offset(chunk, section),
                             reader->layout().padded_bytes(chunk, section));
  for (const auto& [offset, bytes] : committed)
    before.push_back(peek_file(fixture_.data(), offset, bytes));
  reader = fail(Error(Errc::internal, "closed"));
  {
    auto store = fixture_.reopen();
    ASSERT_TRUE(store);
    for (const std::int64_t step : {2, 3, 4}) ASSERT_TRUE(write_step(**store, step));
  }
  for (std::size_t i = 0; i < committed.size(); ++i)
    EXPECT_EQ(peek_file(fixture_.data(), committed[i].first, committed[i].second), before[i]) << i;
}

TEST_F(DurableStore, PassesOverARecordThatWasCutOff) {
  commit_step(1);
  commit_step(2);  // sequence 2: the first area
  const Layout layout = durable_layout();
  const std::uint64_t record = record_bytes(layout, block_count(layout));
  const std::uint64_t first = std::filesystem::file_size(fixture_.journal()) - 2 * record;
  // Commit 3 begins to be written over commit 1's record and the power goes.
  std::vector<std::byte> torn = peek_file(fixture_.journal(), first + record, record);
  torn[40] ^= std::byte{2};
  poke_file(fixture_.journal(), first + record, torn);
  expect_reopens_at(2);
}

TEST_F(DurableStore, SaysSoWhenNothingWasCommitted) {
  std::string job;
  {
    auto files = DurableFiles::create(durable_layout(), fixture_.options());
    ASSERT_TRUE(files) << files.error().message();
    job = files->directories()[0];
    const auto reader = StoreReader::open({job}, Access::look);
    ASSERT_FALSE(reader);
    EXPECT_EQ(reader.error().code(), Errc::not_found);
    EXPECT_TRUE(mentions(reader.error(), {job, "nothing was ever committed"}));
  }
  EXPECT_TRUE(std::filesystem::is_empty(fixture_.parent()))
      << "a store to which nothing was committed goes with its run";
}

TEST_F(DurableStore, RefusesACommitOfSectionsThatWereNeverWritten) {
  auto store = fixture_.create();
  ASSERT_TRUE(store);
  ASSERT_TRUE(write_sections(**store, 0, 15, 1));
  const Result<void> done = (*store)->commit(state_of_step(1));
  ASSERT_FALSE(done);
  EXPECT_TRUE(mentions(done.error(), {"unit embed", "chunk 1", "never written"}));
}

TEST_F(DurableStore, ReservesBothSlotsBeforeAnythingIsWritten) {
  auto store = fixture_.create();
  ASSERT_TRUE(store);
  const std::vector<std::uint64_t> promised =
      durable_bytes(durable_layout(), fixture_.options().description.size());
  std::uint64_t taken = 0;
  for (const char* name : {"data", "journal", "owner"}) {
    struct stat info{};
    ASSERT_EQ(::stat((fixture_.jobs()[0] + "/" + name).c_str(), &info), 0);
    EXPECT_GE(static_cast<std::uint64_t>(info.st_blocks) * 512,
              static_cast<std::uint64_t>(info.st_size))
        << name << " has holes";
    EXPECT_EQ(info.st_mode & 07777, 0600U) << name;
    taken += static_cast<std::uint64_t>(info.st_size);
  }
  EXPECT_EQ(taken, promised[0]);
  EXPECT_GE(promised[0], 2 * durable_layout().file_bytes()[0]);
  struct stat info{};
  ASSERT_EQ(::stat(fixture_.jobs()[0].c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700U);
}

TEST_F(DurableStore, LeavesNothingWhenThereIsNoSpace) {
  const Layout huge = Layout::build({.unit_elements = {std::uint64_t{1} << 45},
                                     .chunk_elements = std::uint64_t{1} << 32,
                                     .sections = split_bf16_sections});
  const auto files = DurableFiles::create(huge, fixture_.options());
  ASSERT_FALSE(files);
  EXPECT_EQ(files.error().code(), Errc::no_space);
  EXPECT_TRUE(mentions(files.error(), {"need ", "have ", fixture_.parent()}));
  EXPECT_TRUE(std::filesystem::is_empty(fixture_.parent()));
}

TEST_F(DurableStore, WholeLayoutGivesEverySectionSpaceOnTheSameChunks) {
  LayoutInput input{.unit_elements = {durable_chunk + durable_tail, durable_chunk},
                    .chunk_elements = durable_chunk,
                    .sections = split_bf16_sections};
  input.stored = [](std::uint32_t unit, std::uint32_t) {
    return unit == 0 ? states_mask : SectionMask{0};
  };
  const Layout some = Layout::build(input), whole = whole_layout(some, {1.0});
  ASSERT_EQ(whole.chunks().size(), some.chunks().size());
  for (ChunkId chunk = 0; chunk < some.chunks().size(); ++chunk) {
    EXPECT_EQ(whole.chunk(chunk).unit, some.chunk(chunk).unit);
    EXPECT_EQ(whole.chunk(chunk).first, some.chunk(chunk).first);
    EXPECT_EQ(whole.chunk(chunk).elements, some.chunk(chunk).elements);
    EXPECT_EQ(whole.chunk(chunk).stored, 15);
  }
}

TEST(DurableStoreOnSeveralPaths, ReopensAndKnowsItsPaths) {
  DurableFixture fixture(2);
  {
    auto store = fixture.create();
    ASSERT_TRUE(store) << store.error().message();
    ASSERT_TRUE(write_step(**store, 5));
    ASSERT_TRUE((*store)->commit(state_of_step(5)));
  }
  EXPECT_GT(std::filesystem::file_size(fixture.data(1)), 2 * MiB);
  auto store = fixture.reopen();
  ASSERT_TRUE(store) << store.error().message();
  const auto same = store_holds(**store, 5);
  ASSERT_TRUE(same);
  EXPECT_TRUE(*same);
  *store = nullptr;
  const auto swapped = DurableFiles::open({fixture.jobs()[1], fixture.jobs()[0]}, Access::read);
  ASSERT_FALSE(swapped);
  EXPECT_TRUE(mentions(swapped.error(), {fixture.jobs()[1], "path 1"}));
  const auto half = DurableFiles::open({fixture.jobs()[0]}, Access::read);
  ASSERT_FALSE(half);
  EXPECT_TRUE(mentions(half.error(), {fixture.jobs()[0], "2 paths"}));
}

TEST(DurableStoreOnSeveralPaths, RefusesADataFileOfAnotherPath) {
  DurableFixture fixture(2);
  {
    auto store = fixture.create();
    ASSERT_TRUE(store);
    ASSERT_TRUE(write_step(**store, 5));
    ASSERT_TRUE((*store)->commit(state_of_step(5)));
  }
  std::filesystem::rename(fixture.data(1), fixture.data(0) + ".kept");
  std::filesystem::rename(fixture.data(0), fixture.data(1));
  std::filesystem::rename(fixture.data(0) + ".kept", fixture.data(0));
  const auto store = fixture.reopen();
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code(), Errc::corrupt);
  EXPECT_TRUE(mentions(store.error(), {fixture.data(0)}));
}

// --- what a device may do to a block between two processes ---------------------------------------

class DurableVerification : public DurableStore {
 protected:
  void SetUp() override {
    commit_step(1);
    commit_step(2);
    const auto reader = fixture_.read();
    ASSERT_TRUE(reader);
    for (ChunkId chunk = 0; chunk < 3; ++chunk)
      for (const Section section : all_sections)
        offset_[chunk][index(section)] = reader->offset(chunk, section);
  }
  std::uint64_t offset(ChunkId chunk, Section section) const {
    return offset_[chunk][index(section)];
  }
  // The other slot of the same section: what step 1 wrote there.
  std::uint64_t other(ChunkId chunk, Section section) const {
    const std::uint64_t slot = durable_layout().file_bytes()[0], at = offset(chunk, section);
    return at >= data_header_bytes + slot ? at - slot : at + slot;
  }
  std::vector<std::byte> peek(std::uint64_t at, std::uint64_t bytes) const {
    return peek_file(fixture_.data(), at, bytes);
  }
  void poke(std::uint64_t at, std::span<const std::byte> bytes) {
    poke_file(fixture_.data(), at, bytes);
  }
  // Both who resumes and who only reads finds it, and names the place.
  void expect_found(ChunkId chunk, Section section, std::uint64_t block) {
    const std::vector<std::string> parts = {
        chunk == 2 ? "unit layers.0" : "unit embed",
        std::string("section ") + to_string(section) + " of chunk " + std::to_string(chunk),
        fixture_.data() + " at offset " + std::to_string(offset(chunk, section) + block * MiB),
        "block " + std::to_string(block)};
    {
      auto store = fixture_.reopen();
      ASSERT_TRUE(store) << store.error().message();
      const auto same = store_holds(**store, 2);
      ASSERT_FALSE(same) << "a resumed run trains on damage";
      EXPECT_EQ(same.error().code(), Errc::corrupt);
      EXPECT_TRUE(mentions(same.error(), parts));
    }
    const auto reader = fixture_.read();
    ASSERT_TRUE(reader);
    const auto bytes = reader->read(chunk, section);
    ASSERT_FALSE(bytes);
    EXPECT_EQ(bytes.error().code(), Errc::corrupt);
    EXPECT_TRUE(mentions(bytes.error(), parts));
  }

 private:
  std::uint64_t offset_[3][section_count] = {};
};

TEST_F(DurableVerification, NoticesOneFlippedBit) {
  const std::uint64_t at = offset(0, Section::v) + MiB + 12345;
  std::vector<std::byte> byte = peek(at, 1);
  byte[0] ^= std::byte{16};
  poke(at, byte);
  expect_found(0, Section::v, 1);
}

TEST_F(DurableVerification, NoticesABitOfThePadding) {
  poke(offset(1, Section::W) + 2 * durable_tail + 100, std::vector<std::byte>(1, std::byte{1}));
  expect_found(1, Section::W, 0);
}

TEST_F(DurableVerification, NoticesATornBlock) {
  poke(offset(0, Section::m) + MiB / 2, peek(other(0, Section::m) + MiB / 2, MiB / 2));
  expect_found(0, Section::m, 0);
}

TEST_F(DurableVerification, NoticesALostWrite) {
  poke(offset(2, Section::lo), peek(other(2, Section::lo), MiB));
  expect_found(2, Section::lo, 0);
}

TEST_F(DurableVerification, NoticesAStaleBlock) {
  poke(offset(0, Section::m) + MiB, peek(other(0, Section::m) + MiB, MiB));
  expect_found(0, Section::m, 1);
}

TEST_F(DurableVerification, NoticesAMisdirectedBlock) {
  poke(offset(0, Section::W), peek(offset(2, Section::W), MiB));
  expect_found(0, Section::W, 0);
}

TEST_F(DurableVerification, FindsDamageWhateverTheRunsModeWas) {
  // Every block is hashed when it is written, so that inspect can check all of them.
  DurableFixture fixture;
  {
    auto store = fixture.create(Verify::off);
    ASSERT_TRUE(store);
    ASSERT_TRUE(write_step(**store, 1));
    ASSERT_TRUE((*store)->commit(state_of_step(1)));
  }
  const auto reader = fixture.read();
  ASSERT_TRUE(reader);
  const auto same = reader_holds(*reader, 1);
  ASSERT_TRUE(same) << same.error().message();
  poke_file(fixture.data(), reader->offset(2, Section::v) + 77, std::vector<std::byte>(3));
  EXPECT_FALSE(reader->read(2, Section::v));
}

}  // namespace
}  // namespace fathom::swap
