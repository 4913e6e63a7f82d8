// SPDX-License-Identifier: Apache-2.0
//
// What a caller may ask of a request that is on its way: cancel it, bound its wait, overtake
// others; and how small requests travel.
#include <atomic>
#include <cerrno>
#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "aio/engines.hpp"
#include "aio/submitter.hpp"
#include "gated_backend.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace fathom::aio {
namespace {

bool ready(const std::future<Result<void>>& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

class QueueControl : public testing::Test {
 protected:
  void SetUp() override {
    auto created = File::create_scratch(directory_.path(), 1 * MiB);
    ASSERT_TRUE(created) << created.error().message();
    file_ = std::move(*created);
  }
  void TearDown() override { gate_.answer_all_from_now_on(); }

  Request request(std::uint64_t offset, std::uint64_t bytes,
                  Priority priority = Priority::demand) const {
    return {.direction = Direction::read,
            .priority = priority,
            .file = &file_,
            .offset = offset,
            .buffer = block_.data() + offset,
            .bytes = bytes};
  }
  struct Sent {
    std::future<Result<void>> done;
    Ticket ticket{};
  };
  template <class To>
  Sent send(To& to, const Request& what) {
    std::promise<Result<void>> promise;
    Sent sent{promise.get_future()};
    sent.ticket = to.submit(what, [promise = std::move(promise)](Result<void> done) mutable {
      promise.set_value(std::move(done));
    });
    return sent;
  }
  std::unique_ptr<Queue> open(const QueueOptions& options) {
    return Queue::over(std::make_unique<GatedBackend>(gate_, 64), options);
  }

  ScratchDirectory directory_;
  File file_;
  Block block_{1 * MiB};
  Gate gate_;
};

TEST_F(QueueControl, WhatIsCancelledInLineCompletesAtOnceAndNeverStarts) {
  auto queue = open({.block_size = 4096, .queue_depth = 1});
  auto running = send(*queue, request(0, 4096));
  gate_.await(1);
  auto waiting = send(*queue, request(65536, 4096));
  queue->cancel(waiting.ticket);
  const auto cancelled = waiting.done.get();
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code(), Errc::cancelled);
  EXPECT_NE(cancelled.error().message().find("at 65536"), std::string::npos);
  EXPECT_FALSE(ready(running.done));
  gate_.answer_oldest();
  EXPECT_TRUE(running.done.get());
  queue->drain();
  EXPECT_EQ(gate_.count(), 1U);
}

TEST_F(QueueControl, WhatIsCancelledHalfwayStartsNoMoreAndWaitsForWhatHasStarted) {
  auto queue = open({.block_size = 4096, .queue_depth = 1});
  auto large = send(*queue, request(0, 16384));
  gate_.await(1);
  queue->cancel(large.ticket);
  auto next = send(*queue, request(65536, 4096));  // proof that the cancellation has been seen
  gate_.answer_oldest();
  const auto cancelled = large.done.get();
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code(), Errc::cancelled);
  gate_.await(2);
  EXPECT_EQ(gate_.oldest().offset, 65536U);
  gate_.answer_oldest();
  EXPECT_TRUE(next.done.get());
}

TEST_F(QueueControl, WhatIsWhollyOnTheDeviceKeepsItsOwnResult) {
  auto queue = open({.block_size = 4096, .queue_depth = 2});
  auto running = send(*queue, request(0, 8192));
  gate_.await(2);
  queue->cancel(running.ticket);
  gate_.answer_oldest();
  gate_.answer_oldest();
  EXPECT_TRUE(running.done.get());
  queue->cancel(running.ticket);  // completed: no effect
  queue->cancel(Ticket{12345});   // never issued: no effect
}

TEST_F(QueueControl, ACompletionMayCancel) {
  auto queue = open({.block_size = 4096, .queue_depth = 1});
  Sent waiting;
  std::promise<void> cancelled;
  queue->submit(request(0, 4096), [&](Result<void>) {
    queue->cancel(waiting.ticket);
    cancelled.set_value();
  });
  gate_.await(1);
  waiting = send(*queue, request(65536, 4096, Priority::write_back));
  auto urgent = send(*queue, request(131072, 4096));  // keeps the place after the first is done
  gate_.answer_oldest();
  cancelled.get_future().get();
  gate_.await(2);
  EXPECT_EQ(waiting.done.get().error().code(), Errc::cancelled);
  gate_.answer_oldest();
  EXPECT_TRUE(urgent.done.get());
}

TEST_F(QueueControl, EveryRequestOfManyThatAreCancelledAtRandomCompletesOnce) {
  for (const Engine engine : {Engine::posix, Engine::io_uring, Engine::libaio}) {
    auto backend = make_backend(engine, 4);
    if (!backend) continue;
    auto queue = Queue::over(std::move(*backend), {.block_size = 16 * KiB, .queue_depth = 4});
    constexpr unsigned count = 256;
    std::atomic<unsigned> completed{0}, wrong{0};
    std::vector<Ticket> tickets;
    for (unsigned i = 0; i < count; ++i)
      tickets.push_back(queue->submit(request(i % 16 * 64 * KiB, 64 * KiB), [&](Result<void> done) {
        ++completed;
        wrong += !done && done.error().code() != Errc::cancelled;
      }));
    std::jthread forward([&] {
      for (unsigned i = 0; i < count; i += 3) queue->cancel(tickets[i]);
    });
    for (unsigned i = count; i > 0; i -= 2) queue->cancel(tickets[i - 1]);
    forward.join();
    queue->drain();
    EXPECT_EQ(completed, count) << to_string(engine);
    EXPECT_EQ(wrong, 0U) << to_string(engine);
  }
}

// A submitter on a clock of the test's.
class Deadlines : public QueueControl {
 protected:
  void SetUp() override {
    QueueControl::SetUp();
    const QueueOptions options{.block_size = 4096, .queue_depth = 1, .deadline_seconds = 1000};
    submitter_ = std::make_unique<Submitter>(std::make_unique<GatedBackend>(gate_, 1), options,
                                             FlightBudget(byte_budget(options)),
                                             [this] { return now_.load(); });
  }
  // Lets the time pass and the submitter notice: the second errand runs after a look at deadlines.
  void pass(double seconds) {
    now_ = now_ + seconds;
    for (int i = 0; i < 2; ++i) submitter_->on_thread([](Backend&) {});
  }
  Request due(Request what, double seconds) {
    what.deadline_seconds = seconds;
    return what;
  }
  std::atomic<double> now_{100};
  std::unique_ptr<Submitter> submitter_;
};

TEST_F(Deadlines, ARequestThatIsLateInLineFailsAloneAndSaysWhatItWasBehind) {
  auto running = send(*submitter_, request(0, 4096));
  gate_.await(1);
  auto ahead = send(*submitter_, request(16384, 8192));
  auto late = send(*submitter_, due(request(65536, 4096), 2));
  pass(1.5);
  EXPECT_FALSE(ready(late.done));
  pass(1.0);
  ASSERT_TRUE(ready(late.done));
  const auto failed = late.done.get();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Errc::timeout);
  const std::string text = failed.error().message();
  EXPECT_NE(text.find(file_.path()), std::string::npos) << text;
  EXPECT_NE(text.find("at 65536"), std::string::npos) << text;
  EXPECT_NE(text.find("2.50 s"), std::string::npos) << "its age: " << text;
  EXPECT_NE(text.find("8.00 KiB"), std::string::npos) << "what is ahead: " << text;
  gate_.answer_all_from_now_on();
  EXPECT_TRUE(running.done.get());
  EXPECT_TRUE(ahead.done.get()) << "the queue goes on";
}

TEST_F(Deadlines, ARequestThatIsLateOnTheDeviceFailsWhenItIsBack) {
  auto late = send(*submitter_, due(request(4096, 4096), 2));
  gate_.await(1);
  pass(3);
  EXPECT_FALSE(ready(late.done)) << "its buffer is the kernel's";
  gate_.answer_oldest();
  const auto failed = late.done.get();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Errc::timeout);
  EXPECT_NE(failed.error().message().find("at 4096"), std::string::npos);
  gate_.answer_all_from_now_on();
  EXPECT_TRUE(send(*submitter_, request(0, 4096)).done.get());
}

TEST_F(Deadlines, ADeviceThatIsStuckIsGivenUpByName) {
  auto stuck = send(*submitter_, request(8192, 4096));
  gate_.await(1);
  auto behind = send(*submitter_, request(0, 4096));
  pass(1001);
  const auto failed = behind.done.get();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Errc::timeout);
  EXPECT_NE(failed.error().message().find("at 8192"), std::string::npos)
      << failed.error().message();
  EXPECT_FALSE(ready(stuck.done));
  gate_.answer_oldest();
  stuck.done.wait();
  EXPECT_EQ(send(*submitter_, request(0, 4096)).done.get().error().code(), Errc::timeout);
}

TEST_F(QueueControl, NeighboursInFileAndMemoryBecomeOneOperation) {
  auto queue = open({.block_size = 16384, .queue_depth = 1});
  auto first = send(*queue, request(262144, 16384));
  gate_.await(1);
  std::vector<Sent> small;
  for (std::uint64_t i = 0; i < 5; ++i) small.push_back(send(*queue, request(i * 4096, 4096)));
  gate_.answer_oldest();
  gate_.await(2);
  EXPECT_EQ(gate_.oldest().offset, 0U);
  EXPECT_EQ(gate_.oldest().bytes, 16384U) << "as many as a block holds";
  gate_.answer_oldest();
  gate_.await(3);
  EXPECT_EQ(gate_.oldest().bytes, 4096U);
  gate_.answer_oldest();
  EXPECT_TRUE(first.done.get());
  for (Sent& one : small) EXPECT_TRUE(one.done.get());
}

TEST_F(QueueControl, AnErrorOfAMergedOperationReachesOnlyTheRequestThatItIsAbout) {
  auto queue = open({.block_size = 16384, .queue_depth = 1});
  auto first = send(*queue, request(262144, 16384));
  gate_.await(1);
  std::vector<Sent> small;
  for (std::uint64_t i = 0; i < 3; ++i) small.push_back(send(*queue, request(i * 4096, 4096)));
  gate_.answer_oldest();
  EXPECT_TRUE(first.done.get());
  for (std::size_t n = 2; n <= 3; ++n) {  // a read is tried twice
    gate_.await(n);
    EXPECT_EQ(gate_.oldest().bytes, 12288U);
    gate_.answer_oldest_with(-EIO);
  }
  std::size_t n = 3;
  for (std::uint64_t i = 0; i < 3; ++i) {
    gate_.await(++n);
    EXPECT_EQ(gate_.oldest().offset, i * 4096) << "each by itself, in order";
    EXPECT_EQ(gate_.oldest().bytes, 4096U);
    if (i != 1) {
      gate_.answer_oldest();
      continue;
    }
    gate_.answer_oldest_with(-EIO);
    gate_.await(++n);
    gate_.answer_oldest_with(-EIO);
  }
  EXPECT_TRUE(small[0].done.get());
  const auto failed = small[1].done.get();
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message().find("at 4096, want 4096"), std::string::npos)
      << failed.error().message();
  EXPECT_TRUE(small[2].done.get());
}

TEST_F(QueueControl, SmallRequestsRunAsDeepAsTheBytesOfTheirBlocksAllow) {
  auto queue = open({.block_size = 1 * MiB, .queue_depth = 1});
  std::vector<Sent> small;
  for (std::uint64_t i = 0; i < 8; ++i)  // with gaps, so that none can be joined
    small.push_back(send(*queue, request(i * 128 * KiB, 64 * KiB)));
  gate_.await(8);  // all at once, where one block of a mebibyte would fill the queue
  gate_.answer_all_from_now_on();
  for (Sent& one : small) EXPECT_TRUE(one.done.get());
}

TEST_F(QueueControl, ARequestBeyondTheKernelsLargestTransferIsCut) {
  auto queue = open({.block_size = max_operation_bytes, .queue_depth = 4});
  gate_.answer_all_from_now_on();
  Request huge = request(0, 3 * GiB);  // nobody touches the memory
  EXPECT_TRUE(send(*queue, huge).done.get());
  ASSERT_EQ(gate_.count(), 3U);
  for (const Operation& operation : gate_.started) EXPECT_LE(operation.bytes, 2147479552U);
}

// Every operation takes one block time, as many at once as are given; the clock is virtual.
class SimulatedBackend final : public Backend {
 public:
  struct Record {
    std::mutex mutex;
    std::condition_variable changed;
    bool go = false, woken = false;
    double now = 0;
    std::map<std::uint64_t, double> read_finished;  // by offset
    unsigned in_flight = 0;
  };
  SimulatedBackend(Record& record, unsigned capacity) : record_(record), capacity_(capacity) {}
  Engine engine() const override { return Engine::posix; }
  unsigned capacity() const override { return capacity_; }
  bool prepare(const Operation& operation) override {
    staged_.push_back(operation);
    return true;
  }
  int submit() override {
    const std::lock_guard lock(record_.mutex);
    for (const Operation& operation : staged_) running_.emplace(record_.now + 1, operation);
    staged_.clear();
    record_.in_flight = static_cast<unsigned>(running_.size());
    record_.changed.notify_all();
    return 0;
  }
  int reap(std::span<Completed> out, double timeout) override {
    std::unique_lock lock(record_.mutex);
    const auto due = [&] { return record_.woken || (record_.go && !running_.empty()); };
    if (timeout != 0) record_.changed.wait(lock, due);
    record_.woken = false;
    if (!record_.go || running_.empty()) return 0;
    const auto next = running_.begin();
    record_.now = next->first;
    if (next->second.direction == Direction::read)
      record_.read_finished[next->second.offset] = record_.now;
    out[0] = {next->second.id, static_cast<std::int64_t>(next->second.bytes)};
    running_.erase(next);
    return 1;
  }
  void wake() override {
    const std::lock_guard lock(record_.mutex);
    record_.woken = true;
    record_.changed.notify_all();
  }
  void cancel() override {}

 private:
  Record& record_;
  const unsigned capacity_;
  std::vector<Operation> staged_;
  std::multimap<double, Operation> running_;
};

TEST_F(QueueControl, ADemandReadBehind256WritesIsDoneWithinTwoBlockTimes) {
  for (const unsigned depth : {1U, 8U, 32U}) {
    SimulatedBackend::Record record;
    auto queue = Queue::over(std::make_unique<SimulatedBackend>(record, depth),
                             {.block_size = 4096, .queue_depth = depth});
    std::vector<std::future<Result<void>>> writes;
    for (unsigned i = 0; i < 256; ++i) {
      Request write = request(0, 4096, Priority::write_back);
      write.direction = Direction::write;
      writes.push_back(send(*queue, write).done);
    }
    {
      std::unique_lock lock(record.mutex);
      record.changed.wait(lock, [&] { return record.in_flight == depth; });
    }
    auto read = send(*queue, request(65536, 4096));  // at time 0
    {
      const std::lock_guard lock(record.mutex);
      record.go = true;
      record.changed.notify_all();
    }
    EXPECT_TRUE(read.done.get());
    for (auto& write : writes) EXPECT_TRUE(write.get());
    EXPECT_LE(record.read_finished.at(65536), 2.0) << depth;
    EXPECT_GE(record.now, 256.0 / depth);
  }
}

}  // namespace
}  // namespace fathom::aio
