// SPDX-License-Identifier: Apache-2.0
//
// Order and bounds, seen from inside: a backend that answers only when the test says so.
#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "aio/faulty_backend.hpp"
#include "aio/posix_backend.hpp"
#include "gated_backend.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace fathom::aio {
namespace {

class QueueOrder : public testing::Test {
 protected:
  void SetUp() override {
    auto created = File::create_scratch(directory_.path(), 1 * MiB);
    ASSERT_TRUE(created) << created.error().message();
    file_ = std::move(*created);
  }
  std::unique_ptr<Queue> open(QueueOptions options) {
    return Queue::over(std::make_unique<GatedBackend>(gate_, 64), options);
  }
  std::future<Result<void>> submit(Queue& queue, std::uint64_t offset, std::uint64_t bytes,
                                   Priority priority) {
    return start(queue, {.direction = Direction::read,
                         .priority = priority,
                         .file = &file_,
                         .offset = offset,
                         .buffer = block_.data() + offset,
                         .bytes = bytes});
  }

  ScratchDirectory directory_;
  File file_;
  Block block_{1 * MiB};
  Gate gate_;
};

TEST_F(QueueOrder, DemandIsServedBeforePrefetchBeforeWriteBack) {
  auto queue = open({.block_size = 4096, .queue_depth = 1});
  std::vector<std::future<Result<void>>> done;
  done.push_back(submit(*queue, 0, 4096, Priority::write_back));  // takes the only place
  gate_.await(1);
  done.push_back(submit(*queue, 4096, 4096, Priority::write_back));
  done.push_back(submit(*queue, 8192, 4096, Priority::prefetch));
  done.push_back(submit(*queue, 12288, 4096, Priority::prefetch));
  done.push_back(submit(*queue, 16384, 4096, Priority::demand));
  gate_.answer_all_from_now_on();
  for (auto& one : done) EXPECT_TRUE(one.get());
  std::vector<std::uint64_t> offsets;
  for (const Operation& operation : gate_.started) offsets.push_back(operation.offset);
  EXPECT_EQ(offsets, (std::vector<std::uint64_t>{0, 16384, 8192, 12288, 4096}));
}

TEST_F(QueueOrder, DemandOvertakesALargeRequestBetweenItsBlocks) {
  auto queue = open({.block_size = 4096, .queue_depth = 1});
  auto large = submit(*queue, 0, 16384, Priority::write_back);
  gate_.await(1);
  auto urgent = submit(*queue, 65536, 4096, Priority::demand);
  gate_.answer_oldest();
  EXPECT_TRUE((gate_.await(2), gate_.started[1].offset == 65536));
  gate_.answer_all_from_now_on();
  EXPECT_TRUE(urgent.get());
  EXPECT_TRUE(large.get());
}

TEST_F(QueueOrder, RequestsAreCutIntoBlocksAndTheRest) {
  auto queue = open({.block_size = 8192, .queue_depth = 8});
  gate_.answer_all_from_now_on();
  EXPECT_TRUE(submit(*queue, 4096, 20480, Priority::demand).get());
  ASSERT_EQ(gate_.started.size(), 3U);
  EXPECT_EQ(gate_.started[0].offset, 4096U);
  EXPECT_EQ(gate_.started[0].bytes, 8192U);
  EXPECT_EQ(gate_.started[1].offset, 12288U);
  EXPECT_EQ(gate_.started[2].offset, 20480U);
  EXPECT_EQ(gate_.started[2].bytes, 4096U);
  EXPECT_EQ(gate_.started[2].buffer, block_.data() + 20480);
}

TEST_F(QueueOrder, DepthTimesParallelismBoundsWhatIsInFlightAndIsReached) {
  auto queue = open({.block_size = 4096, .queue_depth = 3, .intra_op_parallelism = 2});
  auto large = submit(*queue, 0, 256 * KiB, Priority::demand);
  gate_.await(6);
  {
    const std::lock_guard lock(gate_.mutex);
    EXPECT_EQ(gate_.waiting.size(), 6U);
  }
  gate_.answer_all_from_now_on();
  EXPECT_TRUE(large.get());
  EXPECT_EQ(gate_.most_in_flight, 6U);
}

TEST_F(QueueOrder, SingleSubmitGivesOneOperationACall) {
  auto queue = open({.block_size = 4096, .queue_depth = 4, .single_submit = true});
  gate_.answer_all_from_now_on();
  EXPECT_TRUE(submit(*queue, 0, 64 * KiB, Priority::demand).get());
  EXPECT_EQ(gate_.submits, 16U);
}

TEST_F(QueueOrder, WithoutOverlapABatchEndsBeforeTheNextBegins) {
  auto queue = open({.block_size = 4096, .queue_depth = 4, .overlap_events = false});
  auto large = submit(*queue, 0, 32 * KiB, Priority::demand);
  gate_.await(4);
  for (int i = 0; i < 3; ++i) gate_.answer_oldest();
  // The fourth answer makes room for the whole next batch; none of it may have come before.
  {
    const std::lock_guard lock(gate_.mutex);
    EXPECT_EQ(gate_.started.size(), 4U);
  }
  gate_.answer_oldest();
  gate_.await(8);
  gate_.answer_all_from_now_on();
  EXPECT_TRUE(large.get());
  EXPECT_EQ(gate_.submits, 2U);
}

TEST_F(QueueOrder, DestructionCancelsWhatHasNotStartedAndWaitsForWhatHas) {
  auto queue = open({.block_size = 4096, .queue_depth = 1});
  auto running = submit(*queue, 0, 4096, Priority::demand);
  gate_.await(1);
  auto waiting = submit(*queue, 8192, 4096, Priority::demand);
  std::thread destroyer([&] { queue.reset(); });
  const auto cancelled = waiting.get();  // comes although the first one is still running
  gate_.answer_all_from_now_on();
  destroyer.join();
  EXPECT_TRUE(running.get());
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code(), Errc::cancelled);
  EXPECT_NE(cancelled.error().message().find("at 8192"), std::string::npos);
}

TEST_F(QueueOrder, DrainWaitsOnlyForWhatWasSubmittedBefore) {
  auto queue = open({.block_size = 4096, .queue_depth = 2});
  auto first = submit(*queue, 0, 4096, Priority::demand);
  gate_.await(1);
  std::atomic<bool> drained{false};
  std::thread waiter([&] {
    queue->drain();
    drained = true;
  });
  EXPECT_FALSE(drained);
  gate_.answer_oldest();
  waiter.join();
  EXPECT_TRUE(first.get());
  gate_.answer_all_from_now_on();
}

TEST_F(QueueOrder, AStuckOperationFailsTheQueueByNameAndKeepsItsBuffer) {
  auto backend = std::make_unique<FaultyBackend>(
      make_posix_backend(1), std::vector<FaultRule>{{.fault = Fault::hang, .at = 1}});
  FaultyBackend* faults = backend.get();
  auto queue = Queue::over(std::move(backend),
                           {.block_size = 4096, .queue_depth = 1, .deadline_seconds = 0.02});
  auto stuck = submit(*queue, 12288, 4096, Priority::demand);
  auto behind = submit(*queue, 0, 4096, Priority::demand);
  const auto failed = behind.get();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Errc::timeout);
  EXPECT_NE(failed.error().message().find("at 12288"), std::string::npos)
      << "names the operation that is stuck: " << failed.error().message();
  EXPECT_NE(failed.error().message().find(file_.path()), std::string::npos);
  EXPECT_NE(stuck.wait_for(std::chrono::seconds(0)), std::future_status::ready)
      << "its buffer may still be written to";
  const auto later = submit(*queue, 0, 4096, Priority::demand).get();
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().code(), Errc::timeout);
  faults->release();
  const auto released = stuck.get();
  ASSERT_FALSE(released);
  EXPECT_EQ(released.error().code(), Errc::timeout);
}

}  // namespace
}  // namespace fathom::aio
