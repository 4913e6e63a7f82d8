// SPDX-License-Identifier: Apache-2.0
#include "swap/store.hpp"

#include <atomic>

#include <gtest/gtest.h>
#include <sys/statvfs.h>

#include "swap/controlled_backend.hpp"
#include "swap/scratch.hpp"

namespace fathom::swap {
namespace {

constexpr std::uint64_t chunk_elements = 128 * 4096;  // W and lo 1 MiB, m and v 2 MiB
constexpr std::uint64_t tail_elements = 5000;

StoreOptions options_for(std::vector<std::string> paths, Verify verify = Verify::full) {
  StoreOptions options;
  options.paths = std::move(paths);
  options.verify = verify;
  options.unit_names = {"embed", "layers.0"};
  return options;
}

LayoutInput two_units() {
  return {.unit_elements = {chunk_elements + tail_elements, 2 * chunk_elements},
          .chunk_elements = chunk_elements,
          .sections = split_bf16_sections};
}

class StoreTest : public testing::Test {
 protected:
  std::unique_ptr<Store> open(const LayoutInput& input, const StoreOptions& options) {
    auto store = Store::create_scratch(Layout::build(input), options, pool_);
    if (!store) {
      ADD_FAILURE() << store.error().message();
      return nullptr;
    }
    return std::move(*store);
  }
  std::unique_ptr<Store> open(Verify verify = Verify::full) {
    return open(two_units(), options_for({directory_.path()}, verify));
  }

  // Writes `set` of a chunk so that section s holds the words of stamp + s.
  Result<void> write(Store& store, ChunkId chunk, SectionMask set, std::uint64_t stamp) {
    const Layout& layout = store.layout();
    Buffer buffer(layout.padded_bytes(chunk, set));
    for (const Section section : all_sections) {
      if (!has(set, section)) continue;
      fill(buffer.slice(layout.buffer_offset(chunk, set, section),
                        layout.payload_bytes(chunk, section)),
           stamp + index(section));
    }
    return store.transfer_and_wait({.direction = aio::Direction::write,
                                    .chunk = chunk,
                                    .sections = set,
                                    .buffer = buffer.data()});
  }

  Result<void> read(Store& store, ChunkId chunk, SectionMask set) {
    Buffer buffer(store.layout().padded_bytes(chunk, set));
    return store.transfer_and_wait({.chunk = chunk, .sections = set, .buffer = buffer.data()});
  }

  void expect_reads(Store& store, ChunkId chunk, SectionMask set, std::uint64_t stamp) {
    const Layout& layout = store.layout();
    Buffer buffer(layout.padded_bytes(chunk, set));
    std::ranges::fill(buffer.slice(0, buffer.size()), std::byte{0xee});
    const Result<void> done =
        store.transfer_and_wait({.chunk = chunk, .sections = set, .buffer = buffer.data()});
    ASSERT_TRUE(done) << done.error().message();
    for (const Section section : all_sections) {
      if (!has(set, section)) continue;
      const std::uint64_t at = layout.buffer_offset(chunk, set, section);
      const std::uint64_t payload = layout.payload_bytes(chunk, section);
      EXPECT_TRUE(holds(buffer.slice(at, payload), stamp + index(section)))
          << "section " << to_string(section) << " of chunk " << chunk;
      for (const std::byte byte :
           buffer.slice(at + payload, layout.padded_bytes(chunk, section) - payload))
        ASSERT_EQ(byte, std::byte{0}) << "padding is zero on disk";
    }
  }

  TemporaryDirectory directory_;
  ThreadPool pool_{2};
};

TEST_F(StoreTest, ReturnsEveryRunOfSectionsAsItWasWritten) {
  const auto store = open();
  ASSERT_TRUE(store);
  std::uint64_t stamp = 1;
  for (ChunkId chunk = 0; chunk < store->layout().chunks().size(); ++chunk) {
    for (SectionMask set = 1; set < 16; ++set) {
      stamp += 10;  // sections with others between them, too
      ASSERT_TRUE(write(*store, chunk, set, stamp));
      expect_reads(*store, chunk, set, stamp);
    }
  }
}

TEST_F(StoreTest, KeepsWhatAWriteOfTheNeighboursDoesNotName) {
  const auto store = open();
  ASSERT_TRUE(store);
  ASSERT_TRUE(write(*store, 0, 15, 100));
  ASSERT_TRUE(write(*store, 0, mask(Section::lo) | mask(Section::m), 200));
  expect_reads(*store, 0, mask(Section::W), 100);
  expect_reads(*store, 0, mask(Section::lo) | mask(Section::m), 200);
  expect_reads(*store, 0, mask(Section::v), 100);
}

TEST_F(StoreTest, IgnoresKindsThatTheFormatLacks) {
  LayoutInput input = two_units();
  input.sections = fp32_sections;
  const auto store = open(input, options_for({directory_.path()}));
  ASSERT_TRUE(store);
  ASSERT_TRUE(write(*store, 1, mask(Section::m) | mask(Section::v), 9));
  Buffer buffer(store->layout().padded_bytes(1, states_mask));
  EXPECT_TRUE(
      store->transfer_and_wait({.chunk = 1, .sections = states_mask, .buffer = buffer.data()}));
}

TEST_F(StoreTest, SpreadsChunksOverSeveralPaths) {
  const TemporaryDirectory second;
  LayoutInput input = two_units();
  input.unit_elements = {6 * chunk_elements};
  input.path_weights = {2, 1};
  const auto store = open(input, options_for({directory_.path(), second.path()}));
  ASSERT_TRUE(store);
  EXPECT_GT(store->layout().file_bytes()[0], store->layout().file_bytes()[1]);
  EXPECT_GT(store->layout().file_bytes()[1], 0U);
  for (ChunkId chunk = 0; chunk < 6; ++chunk) ASSERT_TRUE(write(*store, chunk, 15, 100 * chunk));
  for (ChunkId chunk = 0; chunk < 6; ++chunk) expect_reads(*store, chunk, 15, 100 * chunk);
  EXPECT_NE(store->describe().find(directory_.path()), std::string::npos);
  EXPECT_NE(store->describe().find(second.path()), std::string::npos);
}

TEST_F(StoreTest, TakesNoSpaceWhereNothingIsStored) {
  LayoutInput input = two_units();
  input.stored = [](std::uint32_t, std::uint32_t) { return SectionMask{0}; };
  const auto store = open(input, options_for({"/nonexistent"}));
  ASSERT_TRUE(store) << "a path that gets nothing is not opened";
}

TEST_F(StoreTest, LeavesNoNameBehind) {
  const auto store = open();
  ASSERT_TRUE(store);
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(StoreTest, CountsPayloadBySectionAndPaddingApart) {
  const auto store = open();
  ASSERT_TRUE(store);
  const Layout& layout = store->layout();
  const ChunkId tail = 1;
  ASSERT_EQ(layout.chunk(tail).elements, tail_elements);
  ASSERT_TRUE(write(*store, tail, 15, 1));
  ASSERT_TRUE(write(*store, tail, weights_mask, 2));
  ASSERT_TRUE(read(*store, tail, mask(Section::m)));
  const StoreCounters counters = store->counters();
  EXPECT_EQ(counters.written, (std::array<std::uint64_t, 4>{4 * tail_elements, 2 * tail_elements,
                                                            4 * tail_elements, 4 * tail_elements}));
  EXPECT_EQ(counters.read, (std::array<std::uint64_t, 4>{0, 0, 4 * tail_elements, 0}));
  // 5000 elements: 10000 bytes padded to 12288, 20000 to 20480.
  EXPECT_EQ(counters.padding_written, 3 * 2288U + 2 * 480U);
  EXPECT_EQ(counters.padding_read, 480U);
  EXPECT_EQ(counters.total_written(), layout.padded_bytes(tail, 15) + 12288);
  EXPECT_EQ(counters.total_read(), 20480U);
}

TEST_F(StoreTest, RefusesToReadWhatWasNeverWritten) {
  const auto store = open(Verify::off);
  ASSERT_TRUE(store);
  ASSERT_TRUE(write(*store, 1, weights_mask, 1));
  const Result<void> done = read(*store, 1, weights_mask | mask(Section::lo));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), Errc::bad_input);
  for (const std::string part : {"embed", "section lo of chunk 1", "never written"})
    EXPECT_NE(done.error().message().find(part), std::string::npos) << done.error().message();
  EXPECT_FALSE(done.error().remedy_text().empty());
  // The refusal holds nothing: the section can be written and read.
  ASSERT_TRUE(write(*store, 1, mask(Section::lo), 3));
  EXPECT_TRUE(read(*store, 1, weights_mask | mask(Section::lo)));
}

TEST_F(StoreTest, RunsManyTransfersAtOnce) {
  LayoutInput input = two_units();
  input.unit_elements = {64 * 4096};
  input.chunk_elements = 4096;
  const auto store = open(input, options_for({directory_.path()}));
  ASSERT_TRUE(store);
  const Layout& layout = store->layout();
  std::vector<Buffer> buffers;
  for (ChunkId chunk = 0; chunk < 64; ++chunk) {
    buffers.emplace_back(layout.padded_bytes(chunk, 15));
    fill(buffers[chunk].slice(0, buffers[chunk].size()), chunk);
  }
  std::atomic<int> done{0}, failed{0};
  for (ChunkId chunk = 0; chunk < 64; ++chunk) {
    // Each write reads itself back from its completion, into the same buffer.
    store->transfer({.direction = aio::Direction::write,
                     .chunk = chunk,
                     .sections = 15,
                     .buffer = buffers[chunk].data(),
                     .priority = aio::Priority::write_back},
                    [&, chunk](Result<void> written) {
                      if (!written) ++failed;
                      store->transfer(
                          {.chunk = chunk, .sections = 15, .buffer = buffers[chunk].data()},
                          [&](Result<void> read_back) { read_back ? ++done : ++failed; });
                    });
  }
  store->drain();
  EXPECT_EQ(done, 64);
  EXPECT_EQ(failed, 0);
  for (ChunkId chunk = 0; chunk < 64; ++chunk)
    EXPECT_TRUE(holds(buffers[chunk].slice(0, buffers[chunk].size()), chunk));
}

TEST_F(StoreTest, DestructionDrains) {
  Buffer buffer(4 * MiB);
  std::atomic<bool> completed{false};
  {
    const auto store = open();
    ASSERT_TRUE(store);
    store->transfer({.direction = aio::Direction::write,
                     .chunk = 0,
                     .sections = mask(Section::m),
                     .buffer = buffer.data()},
                    [&](Result<void>) { completed = true; });
  }
  EXPECT_TRUE(completed);
}

TEST_F(StoreTest, FailureInCreationNamesThePathAndLeavesNothingOpen) {
  LayoutInput input = two_units();
  input.path_weights = {1, 1};
  const std::size_t before = open_descriptors();
  const auto store = Store::create_scratch(
      Layout::build(input), options_for({directory_.path(), directory_.path() + "/absent"}), pool_);
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message().find("absent"), std::string::npos) << store.error().message();
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(StoreTest, CreationFailsBeforeAnythingIsWrittenWhenTheSpaceIsNotThere) {
  struct statvfs disk;
  ASSERT_EQ(::statvfs(directory_.path().c_str(), &disk), 0);
  const std::uint64_t total = std::uint64_t{disk.f_blocks} * disk.f_frsize;
  LayoutInput input = two_units();
  input.chunk_elements = 16 * MiB;
  input.sections = weights32_sections;
  // The first path fits, the second does not.
  input.unit_elements = {2 * input.chunk_elements, (total / 4 + GiB)};
  input.path_weights = {1, 1e6};
  const Layout layout = Layout::build(input);
  ASSERT_GT(layout.file_bytes()[1], total);
  const std::size_t before = open_descriptors();
  const auto store =
      Store::create_scratch(layout, options_for({directory_.path(), directory_.path()}), pool_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code(), Errc::no_space) << store.error().message();
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_TRUE(open_again(directory_.path()).empty());
}

// --- verification: every way in which a device can return something else -----------------------

class StoreVerification : public StoreTest {
 protected:
  void SetUp() override {
    store_ = open();
    ASSERT_TRUE(store_);
    std::vector<UniqueFd> files = open_again(directory_.path());
    ASSERT_EQ(files.size(), 1U);
    file_ = std::move(files[0]);
    ASSERT_TRUE(file_);
    for (ChunkId chunk = 0; chunk < store_->layout().chunks().size(); ++chunk)
      ASSERT_TRUE(write(*store_, chunk, 15, 1000 * chunk));
  }

  std::uint64_t offset(ChunkId chunk, Section section) const {
    return store_->layout().chunk(chunk).offset + store_->layout().section_offset(chunk, section);
  }
  std::vector<std::byte> peek(std::uint64_t at, std::size_t bytes) const {
    std::vector<std::byte> data(bytes);
    EXPECT_EQ(::pread(file_.get(), data.data(), bytes, static_cast<off_t>(at)),
              static_cast<ssize_t>(bytes));
    return data;
  }
  void poke(std::uint64_t at, std::span<const std::byte> data) const {
    ASSERT_EQ(::pwrite(file_.get(), data.data(), data.size(), static_cast<off_t>(at)),
              static_cast<ssize_t>(data.size()));
    ASSERT_EQ(::fdatasync(file_.get()), 0);  // so that a direct read sees it
  }

  void expect_corrupt(ChunkId chunk, SectionMask set, const std::vector<std::string>& parts) {
    const Result<void> done = read(*store_, chunk, set);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), Errc::corrupt);
    EXPECT_FALSE(done.error().remedy_text().empty());
    for (const std::string& part : parts)
      EXPECT_NE(done.error().message().find(part), std::string::npos) << done.error().message();
  }

  std::unique_ptr<Store> store_;
  UniqueFd file_;
};

TEST_F(StoreVerification, NamesUnitSectionChunkPathOffsetAndBlockOfAFlippedBit) {
  const std::uint64_t at = offset(2, Section::v) + MiB + 12345;
  std::vector<std::byte> byte = peek(at, 1);
  byte[0] ^= std::byte{16};
  poke(at, byte);
  expect_corrupt(2, 15,
                 {"unit layers.0", "section v of chunk 2", directory_.path(),
                  "offset " + std::to_string(offset(2, Section::v) + MiB), "block 1 of 2"});
  // What is intact stays readable, and so does the section once it is written anew.
  EXPECT_TRUE(read(*store_, 2, weights_mask | mask(Section::lo) | mask(Section::m)));
  ASSERT_TRUE(write(*store_, 2, mask(Section::v), 5));
  expect_reads(*store_, 2, mask(Section::v), 5);
}

TEST_F(StoreVerification, NoticesAFlippedBitInThePadding) {
  const std::uint64_t at = offset(1, Section::W) + 2 * tail_elements + 7;
  poke(at, std::vector<std::byte>{std::byte{1}});
  expect_corrupt(1, weights_mask, {"section W of chunk 1", "block 0 of 1"});
}

TEST_F(StoreVerification, NoticesATornWrite) {
  const std::vector<std::byte> old = peek(offset(0, Section::m), 2 * MiB);
  ASSERT_TRUE(write(*store_, 0, mask(Section::m), 77));
  // The second half of the first block never reached the medium.
  poke(offset(0, Section::m) + MiB / 2, std::span(old).subspan(MiB / 2, MiB / 2));
  expect_corrupt(0, mask(Section::m), {"unit embed", "section m of chunk 0", "block 0 of 2"});
}

TEST_F(StoreVerification, NoticesALostWrite) {
  const std::vector<std::byte> old = peek(offset(0, Section::m), 2 * MiB);
  ASSERT_TRUE(write(*store_, 0, mask(Section::m), 77));
  poke(offset(0, Section::m), old);
  expect_corrupt(0, states_mask, {"section m of chunk 0", "2 of 2 blocks"});
}

TEST_F(StoreVerification, NoticesAStaleBlock) {
  const std::vector<std::byte> old = peek(offset(0, Section::m) + MiB, MiB);
  ASSERT_TRUE(write(*store_, 0, mask(Section::m), 77));
  poke(offset(0, Section::m) + MiB, old);
  expect_corrupt(0, mask(Section::m), {"section m of chunk 0", "block 1 of 2", "1 of 2 blocks"});
}

TEST_F(StoreVerification, NoticesAMisdirectedBlock) {
  // Chunk 3's W landed on chunk 2's, whole and valid.
  poke(offset(2, Section::W), peek(offset(3, Section::W), MiB));
  expect_corrupt(2, weights_mask, {"section W of chunk 2", "block 0 of 1"});
  EXPECT_TRUE(read(*store_, 3, weights_mask));
}

TEST_F(StoreVerification, NoticesBlocksThatChangedPlaces) {
  const std::vector<std::byte> both = peek(offset(2, Section::v), 2 * MiB);
  poke(offset(2, Section::v), std::span(both).subspan(MiB));
  poke(offset(2, Section::v) + MiB, std::span(both).subspan(0, MiB));
  expect_corrupt(2, mask(Section::v), {"section v of chunk 2", "2 of 2 blocks"});
}

TEST_F(StoreVerification, DoesNotCountAReadThatFailed) {
  const StoreCounters before = store_->counters();
  poke(offset(0, Section::W), std::vector<std::byte>(4096));
  expect_corrupt(0, weights_mask, {});
  EXPECT_EQ(store_->counters().total_read(), before.total_read());
}

// --- misuse
// ----------------------------------------------------------------------------------------

using StoreDeathTest = StoreTest;

TEST_F(StoreDeathTest, AssertsThatOneWriteOfASectionIsUnderWayAtMost) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Control control;
        control.close();
        const StoreOptions options = options_for({directory_.path()}, Verify::off);
        std::vector<std::unique_ptr<aio::Queue>> queues;
        queues.push_back(
            aio::Queue::over(std::make_unique<ControlledBackend>(control), options.queue));
        const auto store =
            Store::create_scratch(Layout::build(two_units()), options, pool_, std::move(queues));
        Buffer buffer(16 * MiB);
        for (const SectionMask set : {mask(Section::m), states_mask})
          (*store)->transfer({.direction = aio::Direction::write,
                              .chunk = 0,
                              .sections = set,
                              .buffer = buffer.data()},
                             [](Result<void>) {});
      },
      "meets a write of it");
}

}  // namespace
}  // namespace fathom::swap
