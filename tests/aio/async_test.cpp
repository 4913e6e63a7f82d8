// SPDX-License-Identifier: Apache-2.0
//
// The queue as Boost.Asio operations: every kind of token, executors, cancellation, destruction.
#include "aio/async.hpp"

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <gtest/gtest.h>

#include "aio/engines.hpp"
#include "aio/faulty_backend.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace fathom::aio {
namespace {

namespace asio = boost::asio;

class Async : public testing::TestWithParam<Engine> {
 protected:
  void SetUp() override {
    auto backend = make_backend(GetParam(), 8);
    if (!backend) GTEST_SKIP() << backend.error().message();
    queue_ = Queue::over(std::move(*backend), {.block_size = 16 * KiB, .queue_depth = 8});
    auto file = File::create_scratch(directory_.path(), 4 * MiB);
    ASSERT_TRUE(file) << file.error().message();
    file_ = std::move(*file);
  }

  Request at(std::uint64_t offset, const Block& block) {
    return request_of(Direction::read, file_, offset, block);
  }

  ScratchDirectory directory_;
  File file_;
  std::unique_ptr<Queue> queue_;
};

TEST_P(Async, FuturesGiveResults) {
  Block out(64 * KiB), in(64 * KiB);
  out.fill(1);
  const Result<void> written = async_write(*queue_, at(0, out), asio::use_future).get();
  ASSERT_TRUE(written) << written.error().message();
  ASSERT_TRUE(async_read(*queue_, at(0, in), asio::use_future).get());
  EXPECT_EQ(in, out);

  const Result<void> past = async_read(*queue_, at(8 * MiB, in), asio::use_future).get();
  ASSERT_FALSE(past);
  EXPECT_EQ(past.error().code(), Errc::io);
}

TEST_P(Async, CallbacksRunOnTheirExecutorAndItWaitsForThem) {
  asio::io_context context;
  Block out(64 * KiB);
  out.fill(2);
  std::thread::id ran;
  bool succeeded = false;
  async_write(*queue_, at(0, out),
              asio::bind_executor(context.get_executor(), [&](const Result<void>& done) {
                ran = std::this_thread::get_id();
                succeeded = done.has_value();
              }));
  context.run();  // returns only when the handler has run
  EXPECT_EQ(ran, std::this_thread::get_id());
  EXPECT_TRUE(succeeded);
}

TEST_P(Async, AHandlerWithoutAnExecutorDoesNotRunOnTheQueuesThread) {
  Block block(16 * KiB);
  std::promise<std::thread::id> own, other;
  queue_->submit(at(0, block), [&](Result<void>) { own.set_value(std::this_thread::get_id()); });
  async_read(*queue_, at(0, block), [&](const Result<void>&) {
    queue_->drain();  // would be refused on the queue's thread
    other.set_value(std::this_thread::get_id());
  });
  EXPECT_NE(own.get_future().get(), other.get_future().get());
}

TEST_P(Async, CoroutinesAwaitResults) {
  asio::io_context context;
  Block out(128 * KiB), in(128 * KiB);
  out.fill(3);
  std::vector<bool> results;
  asio::co_spawn(
      context,
      [&]() -> asio::awaitable<void> {
        const auto written = co_await async_write(*queue_, at(64 * KiB, out), asio::use_awaitable);
        results.push_back(written.has_value());
        const auto read = co_await async_read(*queue_, at(64 * KiB, in), asio::use_awaitable);
        results.push_back(read.has_value());
        const auto past = co_await async_read(*queue_, at(16 * MiB, in), asio::use_awaitable);
        results.push_back(past.has_value());
        const auto drained = co_await async_drain(*queue_, asio::use_awaitable);
        results.push_back(drained.has_value());
      },
      asio::detached);
  context.run();
  EXPECT_EQ(results, (std::vector<bool>{true, true, false, true}));
  EXPECT_EQ(in, out);
}

TEST_P(Async, HandlersOfAStrandNeverOverlap) {
  asio::io_context context;
  auto strand = asio::make_strand(context);
  constexpr unsigned count = 64;
  std::vector<Block> blocks;
  for (unsigned i = 0; i < count; ++i) blocks.emplace_back(16 * KiB).fill(i);
  std::atomic<int> inside{0};
  unsigned overlaps = 0, succeeded = 0;  // only the strand touches them
  for (unsigned i = 0; i < count; ++i)
    async_write(*queue_, at(i * 16 * KiB, blocks[i]),
                asio::bind_executor(strand, [&](const Result<void>& done) {
                  overlaps += inside.fetch_add(1) != 0;
                  succeeded += done.has_value();
                  inside.fetch_sub(1);
                }));
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < 4; ++i) threads.emplace_back([&] { context.run(); });
  threads.clear();
  EXPECT_EQ(overlaps, 0U);
  EXPECT_EQ(succeeded, count);
}

TEST_P(Async, DrainWaitsForEverythingSubmittedBefore) {
  constexpr unsigned count = 32;
  std::vector<Block> blocks;
  for (unsigned i = 0; i < count; ++i) blocks.emplace_back(64 * KiB).fill(i);
  std::atomic<unsigned> completed{0};
  for (unsigned i = 0; i < count; ++i)
    queue_->submit(request_of(Direction::write, file_, i * 64 * KiB, blocks[i]),
                   [&](Result<void>) { ++completed; });
  ASSERT_TRUE(async_drain(*queue_, asio::use_future).get());
  EXPECT_EQ(completed, count);
  ASSERT_TRUE(async_drain(*queue_, asio::use_future).get()) << "with nothing to wait for";
}

TEST_P(Async, DestructionCompletesWhatIsInFlight) {
  constexpr unsigned count = 256;
  asio::io_context context;
  unsigned succeeded = 0, cancelled = 0, other = 0;
  std::vector<std::unique_ptr<Block>> blocks;
  for (unsigned i = 0; i < count; ++i) {
    blocks.push_back(std::make_unique<Block>(16 * KiB));
    blocks.back()->fill(i);
    // Each handler frees its own buffer: a late write into it would be a use after free.
    async_read(*queue_, at(i * 16 * KiB, *blocks.back()),
               asio::bind_executor(context.get_executor(), [&, i](const Result<void>& done) {
                 blocks[i].reset();
                 if (done)
                   ++succeeded;
                 else if (done.error().code() == Errc::cancelled)
                   ++cancelled;
                 else
                   ++other;
               }));
  }
  queue_.reset();
  context.run();
  EXPECT_EQ(succeeded + cancelled, count);
  EXPECT_EQ(other, 0U);
}

TEST_P(Async, AHandlerMayDestroyTheQueue) {
  Block block(16 * KiB);
  std::promise<bool> gone;
  async_read(*queue_, at(0, block), [&](const Result<void>& done) {
    queue_.reset();
    gone.set_value(done.has_value());
  });
  EXPECT_TRUE(gone.get_future().get());
}

#ifdef FATHOM_ASIO_CANCELLATION
TEST_P(Async, ASignalCancelsTheRequestOfItsSlot) {
  auto faulty =
      std::make_unique<FaultyBackend>(std::move(*make_backend(GetParam(), 1)),
                                      std::vector<FaultRule>{{.fault = Fault::hang, .at = 1}});
  FaultyBackend* faults = faulty.get();
  auto queue = Queue::over(std::move(faulty), {.block_size = 16 * KiB, .queue_depth = 1});
  Block held(16 * KiB), waiting(16 * KiB);
  asio::io_context context;
  asio::cancellation_signal signal;
  auto first = async_read(*queue, at(0, held), asio::use_future);  // hangs: the next one waits
  std::optional<Errc> code;
  async_read(
      *queue, at(64 * KiB, waiting),
      asio::bind_cancellation_slot(
          signal.slot(), asio::bind_executor(context.get_executor(), [&](const Result<void>& done) {
            if (!done) code = done.error().code();
          })));
  signal.emit(asio::cancellation_type::terminal);
  context.run();
  EXPECT_EQ(code, Errc::cancelled);
  faults->release();
  EXPECT_FALSE(first.get());
}
#endif

INSTANTIATE_TEST_SUITE_P(Engines, Async,
                         testing::Values(Engine::posix, Engine::io_uring, Engine::libaio),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

}  // namespace
}  // namespace fathom::aio
