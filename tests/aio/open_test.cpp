// SPDX-License-Identifier: Apache-2.0
//
// Opening a queue on a real directory, and the rates that the planner asks for.
#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include <gtest/gtest.h>

#include "aio/engines.hpp"
#include "aio/queue.hpp"
#include "aio/rates.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace fathom::aio {
namespace {

TEST(QueueOpen, AutomaticTakesTheFirstEngineThatWorksAndKeepsTheReasonsOfTheOthers) {
  ScratchDirectory directory;
  const auto probes = probe_engines(directory.path());
  ASSERT_EQ(probes.size(), 3U);
  const auto first = std::ranges::find_if(probes, [](const auto& probe) { return probe.works; });
  ASSERT_NE(first, probes.end()) << "posix works everywhere";
  auto queue = Queue::open(directory.path(), {});
  ASSERT_TRUE(queue) << queue.error().message();
  EXPECT_EQ((*queue)->engine(), first->engine);
  EXPECT_EQ((*queue)->engine_notes().empty(), first == probes.begin());
  for (const auto& probe : probes) EXPECT_TRUE(probe.works || !probe.reason.empty());
}

TEST(QueueOpen, AForcedEngineIsTheOneThatRunsOrAnErrorWithTheReason) {
  ScratchDirectory directory;
  for (const auto& probe : probe_engines(directory.path())) {
    auto queue = Queue::open(directory.path(), {.engine = probe.engine});
    ASSERT_EQ(queue.has_value(), probe.works) << to_string(probe.engine);
    if (queue) {
      EXPECT_EQ((*queue)->engine(), probe.engine);
    } else {
      EXPECT_EQ(queue.error().code(), Errc::unsupported);
      EXPECT_NE(queue.error().message().find(to_string(probe.engine)), std::string::npos);
    }
  }
}

TEST(QueueOpen, AMissingDirectoryIsNamed) {
  const auto queue = Queue::open("/nonexistent/fathom", {});
  ASSERT_FALSE(queue);
  EXPECT_EQ(queue.error().code(), Errc::not_found);
  EXPECT_NE(queue.error().message().find("/nonexistent/fathom"), std::string::npos);
}

TEST(QueueOpen, BadOptionsAreRefusedByKey) {
  ScratchDirectory directory;
  const struct {
    QueueOptions options;
    const char* key;
  } rows[] = {
      {{.block_size = 1000}, "block_size"},
      {{.block_size = 0}, "block_size"},
      {{.block_size = 4 * GiB}, "block_size"},
      {{.queue_depth = 0}, "queue_depth"},
      {{.intra_op_parallelism = 0}, "intra_op_parallelism"},
      {{.deadline_seconds = 0}, "deadline_seconds"},
  };
  for (const auto& row : rows) {
    const auto queue = Queue::open(directory.path(), row.options);
    ASSERT_FALSE(queue) << row.key;
    EXPECT_EQ(queue.error().code(), Errc::bad_config);
    EXPECT_NE(queue.error().message().find(row.key), std::string::npos);
  }
}

TEST(Backends, AWakeThatComesBeforeTheWaitEndsIt) {
  for (const Engine engine : {Engine::posix, Engine::io_uring, Engine::libaio}) {
    auto backend = make_backend(engine, 4);
    if (!backend) continue;
    ASSERT_TRUE((*backend)->start());
    std::array<Completed, 4> none;
    for (int round = 0; round < 3; ++round) {
      EXPECT_EQ((*backend)->reap(none, 0.001), 0) << "now it listens";
      (*backend)->wake();
      EXPECT_EQ((*backend)->reap(none, -1), 0) << to_string(engine);
    }
    (*backend)->stop();
  }
}

TEST(QueueOpen, LeavesNothingBehindInTheDirectory) {
  ScratchDirectory directory;
  {
    ASSERT_TRUE(Queue::open(directory.path(), {}));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(Rates, AreMeasuredAndLeaveNothingBehind) {
  ScratchDirectory directory;
  const auto rates = measure_rates(directory.path(), 8 * MiB, 0.05);
  ASSERT_TRUE(rates) << rates.error().message();
  EXPECT_GT(rates->read, 0);
  EXPECT_GT(rates->write, 0);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(Rates, NeedRoomForOneBlock) {
  ScratchDirectory directory;
  const auto rates = measure_rates(directory.path(), 4096, 0.05);
  ASSERT_FALSE(rates);
  EXPECT_EQ(rates.error().code(), Errc::bad_config);
}

TEST(Rates, AMissingDirectoryIsAnError) {
  EXPECT_FALSE(measure_rates("/nonexistent/fathom", 8 * MiB, 0.05));
}

TEST(Rates, ATrialMovesNoMoreThanItsLimitAndEndsWhenToldTo) {
  ScratchDirectory directory;
  auto queue = Queue::open(directory.path(), {.block_size = 64 * KiB});
  auto file = File::create_scratch(directory.path(), 1 * MiB);
  auto arena = Arena::allocate(2 * MiB);
  ASSERT_TRUE(queue && file && arena);
  const Lane lane{.queue = queue->get(), .file = &*file, .buffers = arena->bytes()};
  const auto limited = run_trial(
      lane, {.read_share = 0, .block = 64 * KiB, .seconds = 1e9, .most_bytes = 640 * KiB});
  ASSERT_TRUE(limited) << limited.error().message();
  EXPECT_EQ(limited->bytes(), 640 * KiB);
  EXPECT_EQ((*queue)->counters().bytes_written, 640 * KiB);
  int asked = 0;
  const auto stopped =
      run_trial(lane, {.block = 64 * KiB, .seconds = 1e9, .stop = [&] { return ++asked > 50; }});
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->bytes(), 50 * 64 * KiB);
}

TEST(Rates, IncompressibleBytesDifferEverywhere) {
  Block a(64 * KiB), b(64 * KiB);
  fill_incompressible(a.bytes(), 1);
  fill_incompressible(b.bytes(), 2);
  std::vector<std::uint64_t> words(16 * KiB);
  std::memcpy(words.data(), a.data(), a.size());
  std::memcpy(words.data() + 8 * KiB, b.data(), b.size());
  std::ranges::sort(words);
  EXPECT_EQ(std::ranges::adjacent_find(words), words.end());
}

}  // namespace
}  // namespace fathom::aio
