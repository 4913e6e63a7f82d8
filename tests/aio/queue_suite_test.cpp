// SPDX-License-Identifier: Apache-2.0
//
// The behaviour that every engine must have, run over all of them on a direct and a buffered file.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "aio/engines.hpp"
#include "aio/faulty_backend.hpp"
#include "aio/posix_backend.hpp"
#include "aio/queue.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace fathom::aio {
namespace {

struct Case {
  std::string name;
  std::function<Result<std::unique_ptr<Backend>>(unsigned)> make;
  bool buffered;  // on a file in memory, which has no direct I/O
};

class QueueSuite : public testing::TestWithParam<Case> {
 protected:
  QueueSuite() : directory_(GetParam().buffered ? "/dev/shm" : "") {}

  void SetUp() override {
    if (GetParam().buffered && !std::filesystem::exists("/dev/shm"))
      GTEST_SKIP() << "no /dev/shm here";
    ASSERT_FALSE(directory_.path().empty());
    if (auto backend = GetParam().make(1); !backend) GTEST_SKIP() << backend.error().message();
  }

  std::unique_ptr<Queue> open(std::uint64_t block = 64 * KiB, unsigned depth = 8) {
    const QueueOptions options{.block_size = block, .queue_depth = depth};
    auto backend = GetParam().make(depth);
    if (!backend) {
      ADD_FAILURE() << backend.error().message();
      return nullptr;
    }
    return Queue::over(std::move(*backend), options);
  }

  File scratch(std::uint64_t bytes) {
    auto file = File::create_scratch(directory_.path(), bytes);
    if (!file) {
      ADD_FAILURE() << file.error().message();
      return {};
    }
    return std::move(*file);
  }

  ScratchDirectory directory_;
};

TEST_P(QueueSuite, EverySizeAroundTheBlockSizeComesBackAsWritten) {
  auto queue = open(64 * KiB, 4);
  const File file = scratch(2 * MiB);
  for (const std::uint64_t bytes :
       {4 * KiB, 60 * KiB, 64 * KiB, 68 * KiB, 128 * KiB, 132 * KiB, 1 * MiB, 1 * MiB + 4 * KiB}) {
    for (const std::uint64_t offset : {std::uint64_t{0}, 4 * KiB, 64 * KiB, 500 * KiB}) {
      Block out(bytes), in(bytes);
      out.fill(bytes + offset);
      const auto written = write_now(*queue, file, offset, out);
      ASSERT_TRUE(written) << written.error().message();
      const auto read = read_now(*queue, file, offset, in);
      ASSERT_TRUE(read) << read.error().message();
      EXPECT_EQ(in, out) << bytes << " at " << offset;
    }
  }
}

TEST_P(QueueSuite, NeighboursOfAWriteAreUntouched) {
  auto queue = open();
  const File file = scratch(1 * MiB);
  Block whole(1 * MiB), middle(68 * KiB), in(1 * MiB);
  whole.fill(1);
  middle.fill(2);
  ASSERT_TRUE(write_now(*queue, file, 0, whole));
  ASSERT_TRUE(write_now(*queue, file, 100 * KiB, middle));
  ASSERT_TRUE(read_now(*queue, file, 0, in));
  std::copy_n(middle.data(), middle.size(), whole.data() + 100 * KiB);
  EXPECT_EQ(in, whole);
}

TEST_P(QueueSuite, ManyConcurrentRequestsFromSeveralThreadsAllCompleteWithTheirOwnBytes) {
  auto queue = open(16 * KiB, 32);
  constexpr unsigned threads = 4, each = 64;
  const std::uint64_t bytes = 48 * KiB;
  const File file = scratch(threads * each * bytes);
  std::atomic<unsigned> bad{0};
  std::vector<std::jthread> workers;
  for (unsigned t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      std::vector<Block> blocks;
      std::vector<std::future<Result<void>>> pending;
      for (unsigned i = 0; i < each; ++i) {
        blocks.emplace_back(bytes).fill(t * each + i);
        pending.push_back(start(*queue, request_of(Direction::write, file, (t * each + i) * bytes,
                                                   blocks.back(), Priority::write_back)));
      }
      for (auto& done : pending) bad += !done.get();
      pending.clear();
      for (unsigned i = 0; i < each; ++i) {
        blocks[i].clear();
        pending.push_back(start(*queue, request_of(Direction::read, file, (t * each + i) * bytes,
                                                   blocks[i], Priority::prefetch)));
      }
      for (auto& done : pending) bad += !done.get();
      Block expected(bytes);
      for (unsigned i = 0; i < each; ++i) {
        expected.fill(t * each + i);
        bad += !(blocks[i] == expected);
      }
    });
  }
  workers.clear();
  EXPECT_EQ(bad, 0U);
  const Counters counters = queue->counters();
  EXPECT_EQ(counters.bytes_written, threads * each * bytes);
  EXPECT_EQ(counters.bytes_read, threads * each * bytes);
  EXPECT_EQ(counters.operations, std::uint64_t{2} * threads * each * 3);
  EXPECT_EQ(counters.failures, 0U);
}

TEST_P(QueueSuite, OneRequestFarLargerThanEverythingInFlightCompletes) {
  auto queue = open(4 * KiB, 3);
  const File file = scratch(3 * MiB);
  Block out(3 * MiB), in(3 * MiB);
  out.fill(9);
  ASSERT_TRUE(write_now(*queue, file, 0, out));
  ASSERT_TRUE(read_now(*queue, file, 0, in));
  EXPECT_EQ(in, out);
}

TEST_P(QueueSuite, DepthsFromOneToManyWork) {
  for (const unsigned depth : {1U, 2U, 128U, 1024U}) {
    auto queue = open(4 * KiB, depth);
    const File file = scratch(2 * MiB);
    Block out(2 * MiB), in(2 * MiB);
    out.fill(depth);
    ASSERT_TRUE(write_now(*queue, file, 0, out)) << depth;
    ASSERT_TRUE(read_now(*queue, file, 0, in)) << depth;
    EXPECT_EQ(in, out) << depth;
  }
}

TEST_P(QueueSuite, SingleSubmitAndNoOverlapChangeNothingButTheOrderOfCalls) {
  for (const bool single : {false, true}) {
    for (const bool overlap : {false, true}) {
      auto backend = GetParam().make(4);
      ASSERT_TRUE(backend);
      auto queue = Queue::over(std::move(*backend), {.block_size = 16 * KiB,
                                                     .queue_depth = 4,
                                                     .single_submit = single,
                                                     .overlap_events = overlap});
      const File file = scratch(512 * KiB);
      Block out(512 * KiB), in(512 * KiB);
      out.fill(single * 2 + overlap);
      ASSERT_TRUE(write_now(*queue, file, 0, out));
      ASSERT_TRUE(read_now(*queue, file, 0, in));
      EXPECT_EQ(in, out);
    }
  }
}

TEST_P(QueueSuite, AnEmptyRequestSucceedsAndMovesNothing) {
  auto queue = open();
  const File file = scratch(4 * KiB);
  const auto done =
      start(*queue, {.direction = Direction::read, .file = &file, .offset = 0, .bytes = 0}).get();
  EXPECT_TRUE(done);
  EXPECT_EQ(queue->counters().operations, 0U);
}

TEST_P(QueueSuite, CompletionsMaySubmit) {
  auto queue = open(16 * KiB, 2);
  const File file = scratch(256 * KiB);
  Block out(64 * KiB), in(64 * KiB);
  out.fill(3);
  std::promise<Result<void>> finished;
  queue->submit(request_of(Direction::write, file, 64 * KiB, out), [&](Result<void> written) {
    if (!written) return finished.set_value(std::move(written));
    queue->submit(request_of(Direction::read, file, 64 * KiB, in),
                  [&](Result<void> read) { finished.set_value(std::move(read)); });
  });
  const auto done = finished.get_future().get();
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(in, out);
}

TEST_P(QueueSuite, DrainReturnsAfterEveryCompletionHasRun) {
  auto queue = open(16 * KiB, 4);
  const File file = scratch(1 * MiB);
  std::atomic<unsigned> completed{0};
  std::vector<Block> blocks;
  for (unsigned i = 0; i < 16; ++i) blocks.emplace_back(64 * KiB).fill(i);
  for (unsigned i = 0; i < 16; ++i)
    queue->submit(request_of(Direction::write, file, i * 64 * KiB, blocks[i]),
                  [&](Result<void> done) { completed += done.has_value(); });
  std::vector<std::jthread> waiters;
  std::atomic<unsigned> short_counts{0};
  for (unsigned i = 0; i < 3; ++i)
    waiters.emplace_back([&] {
      queue->drain();
      short_counts += completed != 16;
    });
  waiters.clear();
  EXPECT_EQ(short_counts, 0U);
  queue->drain();  // with nothing outstanding it returns at once
}

TEST_P(QueueSuite, DestructionCompletesEveryRequestExactlyOnce) {
  const File file = scratch(8 * MiB);
  std::vector<Block> blocks;
  for (unsigned i = 0; i < 64; ++i) blocks.emplace_back(128 * KiB).fill(i);
  std::atomic<unsigned> succeeded{0}, cancelled{0}, other{0};
  {
    auto queue = open(16 * KiB, 2);
    for (unsigned i = 0; i < 64; ++i)
      queue->submit(request_of(Direction::write, file, i * 128 * KiB, blocks[i]),
                    [&](Result<void> done) {
                      if (done)
                        ++succeeded;
                      else if (done.error().code() == Errc::cancelled)
                        ++cancelled;
                      else
                        ++other;
                    });
  }
  EXPECT_EQ(succeeded + cancelled, 64U);
  EXPECT_EQ(other, 0U);
}

TEST_P(QueueSuite, DestructionWith256InFlightLeavesNothingThatWritesLater) {
  constexpr unsigned count = 256;
  constexpr std::uint64_t bytes = 64 * KiB;
  const File file = scratch(count * bytes);
  Block memory(count * bytes), guard(count * bytes);
  guard.fill(99);
  for (unsigned round = 0; round < 4; ++round) {
    std::atomic<unsigned> completed{0}, wrong{0};
    auto queue = open(bytes, count);
    for (unsigned i = 0; i < count; ++i)
      queue->submit({.direction = Direction::read,
                     .file = &file,
                     .offset = i * bytes,
                     .buffer = memory.data() + i * bytes,
                     .bytes = bytes},
                    [&](Result<void> done) {
                      ++completed;
                      wrong += !done && done.error().code() != Errc::cancelled;
                    });
    queue.reset();
    EXPECT_EQ(completed, count);
    EXPECT_EQ(wrong, 0U);
    // The memory is somebody else's from here on: the kernel must not touch it again.
    std::copy_n(guard.data(), guard.size(), memory.data());
    Block other(bytes);
    queue = open(bytes, count);
    for (unsigned i = 0; i < count; ++i) ASSERT_TRUE(read_now(*queue, file, i * bytes, other));
    ASSERT_EQ(memory, guard);
  }
}

TEST_P(QueueSuite, AReadBeyondTheEndNamesPathOffsetAndWhatIsThere) {
  auto queue = open(64 * KiB, 4);
  const File file = scratch(128 * KiB);
  Block in(64 * KiB);
  const auto past = read_now(*queue, file, 256 * KiB, in);
  ASSERT_FALSE(past);
  EXPECT_EQ(past.error().code(), Errc::io);
  const std::string text = past.error().message();
  EXPECT_NE(text.find(file.path()), std::string::npos) << text;
  EXPECT_NE(text.find("262144"), std::string::npos) << text;
  EXPECT_NE(text.find("shorter than expected"), std::string::npos) << text;

  const auto across = read_now(*queue, file, 96 * KiB, in);
  ASSERT_FALSE(across) << "half of it exists";
  EXPECT_NE(across.error().message().find("got 32768"), std::string::npos)
      << across.error().message();
}

TEST_P(QueueSuite, AWriteToAReadOnlyFileFailsByName) {
  const std::string path = directory_.path() + "/plain";
  {
    auto file = File::create(path, 64 * KiB);
    ASSERT_TRUE(file) << file.error().message();
  }
  auto file = File::open_read(path);
  ASSERT_TRUE(file);
  auto queue = open();
  Block out(64 * KiB);
  const auto done = write_now(*queue, *file, 0, out);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), Errc::io);
  EXPECT_EQ(done.error().errno_value(), EBADF);
  EXPECT_NE(done.error().message().find(path), std::string::npos);
  EXPECT_EQ(queue->counters().failures, 1U);
}

TEST_P(QueueSuite, AnyOffsetLengthAndBufferMovesItsBytesAndNoOthers) {
  auto queue = open(16 * KiB, 4);
  constexpr std::uint64_t size = 96 * KiB;
  const File file = scratch(size);
  Block model(size), out(size + 4 * KiB), in(size + 4 * KiB), seen(size);
  model.fill(1);
  ASSERT_TRUE(write_now(*queue, file, 0, model));
  std::uint64_t seed = 2;
  for (const std::uint64_t offset : {0, 1, 100, 4095, 4096, 5000, 16384, 20479}) {
    for (const std::uint64_t bytes : {1, 99, 4096, 4097, 8191, 16384, 50000}) {
      for (const std::uint64_t shift : {0, 1, 512}) {
        SCOPED_TRACE(testing::Message() << bytes << " at " << offset << ", buffer + " << shift);
        out.fill(++seed);
        Request request{.direction = Direction::write,
                        .file = &file,
                        .offset = offset,
                        .buffer = out.data() + shift,
                        .bytes = bytes};
        const auto written = start(*queue, request).get();
        ASSERT_TRUE(written) << written.error().message();
        std::copy_n(out.data() + shift, bytes, model.data() + offset);

        in.clear();
        request.direction = Direction::read;
        request.buffer = in.data() + shift;
        const auto read = start(*queue, request).get();
        ASSERT_TRUE(read) << read.error().message();
        ASSERT_TRUE(std::equal(in.data() + shift, in.data() + shift + bytes, out.data() + shift));
        const auto outside = [&](std::uint64_t from, std::uint64_t to) {
          return std::all_of(in.data() + from, in.data() + to,
                             [](std::byte b) { return b == std::byte{0}; });
        };
        EXPECT_TRUE(outside(0, shift) && outside(shift + bytes, in.size()));
      }
    }
    ASSERT_TRUE(read_now(*queue, file, 0, seen));
    ASSERT_EQ(seen, model) << "neighbours of the writes at " << offset;
  }
}

TEST_P(QueueSuite, OddWritesThatShareABlockDoNotUndoOneAnother) {
  auto queue = open(4 * KiB, 8);
  const File file = scratch(8 * KiB);
  Block model(8 * KiB), seen(8 * KiB);
  model.fill(7);
  std::vector<std::future<Result<void>>> pending;
  for (std::uint64_t at = 0; at < model.size(); at += 64)
    pending.push_back(start(*queue, {.direction = Direction::write,
                                     .file = &file,
                                     .offset = at,
                                     .buffer = model.data() + at,
                                     .bytes = 64}));
  for (auto& done : pending) ASSERT_TRUE(done.get());
  ASSERT_TRUE(read_now(*queue, file, 0, seen));
  EXPECT_EQ(seen, model);
}

TEST_P(QueueSuite, AFileOfOddLengthIsReadToItsExactEndAndNoFurther) {
  constexpr std::uint64_t size = 3 * 16 * KiB + 777;
  Block content(64 * KiB), in(64 * KiB);
  content.fill(11);
  const std::string path = directory_.path() + "/odd";
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(size));
  auto file = File::open_read(path);
  ASSERT_TRUE(file) << file.error().message();
  auto queue = open(16 * KiB, 4);
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{8}, size - 10}) {
    in.clear();
    const Request whole{
        .file = &*file, .offset = offset, .buffer = in.data(), .bytes = size - offset};
    const auto read = start(*queue, whole).get();
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_TRUE(std::equal(in.data(), in.data() + (size - offset), content.data() + offset));
    Request beyond = whole;
    ++beyond.bytes;
    const auto past = start(*queue, beyond).get();
    ASSERT_FALSE(past) << "one byte more than there is";
    EXPECT_EQ(past.error().code(), Errc::io);
    EXPECT_NE(past.error().message().find(path), std::string::npos) << past.error().message();
  }
}

TEST_P(QueueSuite, AFailedRequestDoesNotDisturbItsNeighbours) {
  auto queue = open(16 * KiB, 4);
  const File file = scratch(512 * KiB);
  Block out(512 * KiB), in(512 * KiB), beyond(64 * KiB);
  out.fill(5);
  auto first = start(*queue, request_of(Direction::write, file, 0, out));
  auto bad = start(*queue, request_of(Direction::read, file, 4 * MiB, beyond));
  ASSERT_TRUE(first.get());
  EXPECT_FALSE(bad.get());
  ASSERT_TRUE(read_now(*queue, file, 0, in));
  EXPECT_EQ(in, out);
}

TEST_P(QueueSuite, RandomMixedTrafficMatchesAModelInMemory) {
  auto queue = open(16 * KiB, 8);
  constexpr std::uint64_t cells = 64, cell = 20 * KiB;
  const File file = scratch(cells * cell);
  std::mt19937 random(7);
  std::vector<std::uint64_t> seed(cells, 0);
  std::vector<Block> blocks;
  for (std::uint64_t i = 0; i < cells; ++i) blocks.emplace_back(cell);
  for (unsigned round = 0; round < 6; ++round) {
    std::vector<std::future<Result<void>>> pending;
    std::vector<std::uint64_t> reading;
    for (std::uint64_t i = 0; i < cells; ++i) {
      if (seed[i] == 0 || random() % 2 == 0) {
        seed[i] = random() | 1U;
        blocks[i].fill(seed[i]);
        pending.push_back(start(
            *queue, request_of(Direction::write, file, i * cell, blocks[i], Priority::write_back)));
      } else {
        blocks[i].clear();
        reading.push_back(i);
        pending.push_back(start(
            *queue, request_of(Direction::read, file, i * cell, blocks[i], Priority::demand)));
      }
    }
    for (auto& done : pending) ASSERT_TRUE(done.get());
    Block expected(cell);
    for (const std::uint64_t i : reading) {
      expected.fill(seed[i]);
      ASSERT_EQ(blocks[i], expected) << "round " << round << " cell " << i;
    }
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const bool buffered : {false, true}) {
    for (const Engine engine : {Engine::posix, Engine::io_uring, Engine::libaio})
      cases.push_back({std::string(to_string(engine)) + (buffered ? "_buffered" : "_direct"),
                       [engine](unsigned depth) { return make_backend(engine, depth); }, buffered});
  }
  // A wrapper that injects nothing must change nothing.
  cases.push_back({"faulty_without_faults",
                   [](unsigned depth) -> Result<std::unique_ptr<Backend>> {
                     return std::make_unique<FaultyBackend>(make_posix_backend(depth),
                                                            std::vector<FaultRule>{});
                   },
                   false});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Engines, QueueSuite, testing::ValuesIn(all_cases()),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace fathom::aio
