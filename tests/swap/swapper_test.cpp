// SPDX-License-Identifier: Apache-2.0
#include "swap/swapper.hpp"

#include <future>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "swap/controlled_backend.hpp"
#include "swap/random_program.hpp"
#include "swap/scratch.hpp"

namespace fathom::swap {
namespace {

constexpr std::uint64_t chunk_elements = 4096;

// A store of some one-page-multiple chunks over a backend that the test controls.
class SwapperTest : public testing::Test {
 protected:
  void make_store(std::uint32_t chunks, Verify verify = Verify::full, unsigned depth = 16) {
    store_.reset();  // one backend at a time answers to the control
    Layout layout = Layout::build({.unit_elements = {chunks * chunk_elements},
                                   .chunk_elements = chunk_elements,
                                   .sections = split_bf16_sections});
    StoreOptions options;
    options.paths = {directory_.path()};
    options.verify = verify;
    options.unit_names = {"the unit"};
    options.queue.queue_depth = depth;
    // Depth counts blocks, or their bytes in smaller operations: a chunk is a block here.
    options.queue.block_size = layout.chunk(0).bytes;
    std::vector<std::unique_ptr<aio::Queue>> queues;
    queues.push_back(
        aio::Queue::over(std::make_unique<ControlledBackend>(control_), options.queue));
    auto store = Store::create_scratch(std::move(layout), options, pool_, std::move(queues));
    ASSERT_TRUE(store) << store.error().message();
    store_ = std::move(*store);
    Buffer buffer(store_->layout().chunk(0).bytes);
    for (ChunkId chunk = 0; chunk < chunks; ++chunk) {
      fill(buffer.slice(0, buffer.size()), chunk);
      ASSERT_TRUE(store_->transfer_and_wait({.direction = aio::Direction::write,
                                             .chunk = chunk,
                                             .sections = 15,
                                             .buffer = buffer.data()}));
    }
    before_ = control_.started();
  }

  // Operations of the backend since the store was filled.
  std::uint64_t started() const { return control_.started() - before_; }

  TemporaryDirectory directory_;
  ThreadPool pool_{2};
  Control control_;
  std::unique_ptr<Store> store_;
  std::uint64_t before_ = 0;
};

// Chunk i is read into slot i % slots, computed, and, if asked for, written back.
struct Ring {
  std::vector<Node> nodes;
  std::vector<NodeId> computed;
};

Ring ring_program(std::uint32_t chunks, std::uint32_t slots, bool write_back,
                  std::vector<Buffer>& buffers, std::uint64_t buffer_bytes) {
  Ring ring;
  for (std::uint32_t i = 0; i < slots; ++i) buffers.emplace_back(buffer_bytes);
  const std::uint32_t stride = write_back ? 3 : 2;
  for (std::uint32_t i = 0; i < chunks; ++i) {
    const NodeId read = i * stride;
    TransferRequest request{.chunk = i, .sections = 15, .buffer = buffers[i % slots].data()};
    Node node{.transfer = request, .after = {}};
    // The last user of the slot: of this pass, or of the end of the pass before.
    const std::uint32_t last = write_back ? 2 : 1;
    if (i >= slots)
      node.after.push_back({(i - slots) * stride + last, 0});
    else
      for (std::uint32_t j = chunks; j-- > 0;)
        if (j % slots == i) {
          node.after.push_back({j * stride + last, 1});
          break;
        }
    // What was written must have arrived before it is read again.
    if (write_back) node.after.push_back({read + 2, 1});
    ring.nodes.push_back(node);
    ring.nodes.push_back({.transfer = std::nullopt, .after = {{read, 0}}});
    ring.computed.push_back(read + 1);
    if (write_back) {
      request.direction = aio::Direction::write;
      ring.nodes.push_back({.transfer = request, .after = {{read + 1, 0}}});
    }
  }
  return ring;
}

// --- how far it runs ahead
// --------------------------------------------------------------------------

TEST_F(SwapperTest, ReadsAheadExactlyAsFarAsTheRingHasSlots) {
  make_store(8);
  std::vector<Buffer> slots;
  const Ring ring = ring_program(8, 3, false, slots, store_->layout().chunk(0).bytes);
  Swapper swapper(*store_, ring.nodes);
  swapper.begin_pass(false);
  for (std::uint32_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(swapper.wait(ring.computed[i]));
    // While chunk i is computed, its own slot is taken and the others are refilled.
    store_->drain();
    EXPECT_EQ(started(), std::min(8U, i + 3));
    EXPECT_TRUE(holds(slots[i % 3].slice(0, slots[i % 3].size()), i));
    swapper.complete(ring.computed[i]);
  }
  store_->drain();
  EXPECT_EQ(started(), 8U) << "no pass follows";
  EXPECT_TRUE(swapper.drain());
}

TEST_F(SwapperTest, ReadsAheadAcrossTheEndOfAPassThatIsFollowed) {
  make_store(6);
  std::vector<Buffer> slots;
  const Ring ring = ring_program(6, 3, false, slots, store_->layout().chunk(0).bytes);
  Swapper swapper(*store_, ring.nodes);
  swapper.begin_pass(true);
  for (const NodeId node : ring.computed) {
    ASSERT_TRUE(swapper.wait(node));
    swapper.complete(node);
  }
  store_->drain();
  EXPECT_EQ(started(), 6U + 3U);
  // The pass after the next one has not been promised.
  swapper.begin_pass(false);
  for (const NodeId node : ring.computed) {
    ASSERT_TRUE(swapper.wait(node));
    swapper.complete(node);
  }
  store_->drain();
  EXPECT_EQ(started(), 12U);
}

TEST_F(SwapperTest, OpensTwoPassesAtMost) {
  make_store(4, Verify::off);
  // Nothing holds these reads back but the passes themselves.
  std::vector<Buffer> buffers;
  std::vector<Node> nodes;
  for (ChunkId chunk = 0; chunk < 4; ++chunk) {
    buffers.emplace_back(store_->layout().chunk(chunk).bytes);
    nodes.push_back(
        {.transfer =
             TransferRequest{.chunk = chunk, .sections = 15, .buffer = buffers.back().data()},
         .after = {}});
  }
  Swapper swapper(*store_, nodes);
  control_.close();
  swapper.begin_pass(true);
  swapper.begin_pass(true);
  control_.await_started(before_ + 8);
  EXPECT_GT(swapper.times(3).submitted, 0) << "the second pass is open";
  swapper.begin_pass(false);
  EXPECT_EQ(swapper.times(3).submitted, 0) << "the third waits for the first";
  control_.open();
  ASSERT_TRUE(swapper.wait(3));
  EXPECT_TRUE(swapper.drain());
  EXPECT_EQ(started(), 12U);
}

TEST_F(SwapperTest, SubmitsInTheOrderOfTheProgram) {
  make_store(8);
  std::vector<Buffer> slots;
  const Ring ring = ring_program(8, 8, false, slots, store_->layout().chunk(0).bytes);
  Swapper swapper(*store_, ring.nodes);
  swapper.begin_pass(false);
  for (const NodeId node : ring.computed) {
    ASSERT_TRUE(swapper.wait(node));
    swapper.complete(node);
  }
  ASSERT_TRUE(swapper.drain());
  double last = 0;
  for (std::uint32_t i = 0; i < 8; ++i) {
    const TransferTimes times = swapper.times(2 * i);
    EXPECT_GE(times.submitted, last);
    EXPECT_GE(times.completed, times.submitted);
    EXPECT_GT(times.submitted, 0);
    last = times.submitted;
    EXPECT_EQ(swapper.times(2 * i + 1).submitted, 0) << "computed nodes have no times";
  }
}

TEST_F(SwapperTest, KeepsWhatWasReadAheadWhenThePassesGoOnAfterADrain) {
  make_store(5);
  std::vector<Buffer> slots;
  const Ring ring = ring_program(5, 2, false, slots, store_->layout().chunk(0).bytes);
  Swapper swapper(*store_, ring.nodes);
  for (int pass = 0; pass < 4; ++pass) {
    swapper.begin_pass(true);
    for (std::uint32_t i = 0; i < 5; ++i) {
      ASSERT_TRUE(swapper.wait(ring.computed[i]));
      EXPECT_TRUE(holds(slots[i % 2].slice(0, slots[i % 2].size()), i));
      swapper.complete(ring.computed[i]);
    }
    ASSERT_TRUE(swapper.drain());
    EXPECT_EQ(control_.in_flight(), 0U);
    EXPECT_LE(started(), 5U * static_cast<unsigned>(pass + 1) + 2U);
  }
  swapper.begin_pass(false);
  for (const NodeId node : ring.computed) {
    ASSERT_TRUE(swapper.wait(node));
    swapper.complete(node);
  }
  ASSERT_TRUE(swapper.drain());
  EXPECT_EQ(started(), 25U) << "every chunk was read once a pass";
}

TEST_F(SwapperTest, AfterADrainTheNextPassStaysQuietUntilItBegins) {
  make_store(1);
  Buffer buffer(store_->layout().chunk(0).bytes);
  Swapper swapper(
      *store_, {{.transfer = std::nullopt, .after = {{1, 1}}},
                {.transfer = TransferRequest{.chunk = 0, .sections = 15, .buffer = buffer.data()},
                 .after = {{0, 1}}}});
  swapper.begin_pass(true);
  ASSERT_TRUE(swapper.wait(1));
  ASSERT_TRUE(swapper.drain());
  swapper.complete(0);  // the read of the next pass is ready from here on
  store_->drain();
  EXPECT_EQ(started(), 1U);
  swapper.begin_pass(false);
  ASSERT_TRUE(swapper.wait(1));
  EXPECT_EQ(started(), 2U);
}

TEST_F(SwapperTest, ReadsThatTheEngineWaitsForOvertakePrefetches) {
  // Unverified, the read that follows chunk 0 is submitted before the queue looks for more to do.
  make_store(4, Verify::off, 1);
  std::vector<Buffer> buffers;
  std::vector<Node> nodes;
  for (const ChunkId chunk : {0U, 3U, 1U, 2U}) {
    buffers.emplace_back(store_->layout().chunk(chunk).bytes);
    nodes.push_back(
        {.transfer =
             TransferRequest{.chunk = chunk, .sections = 15, .buffer = buffers.back().data()},
         .after = {}});
  }
  nodes[1].after = {{0, 0}};
  nodes.push_back({.transfer = std::nullopt, .after = {{1, 0}}});
  Swapper swapper(*store_, nodes);
  control_.close();
  swapper.begin_pass(false);  // chunk 0 is under way, 1 and 2 are queued behind it
  auto waited = std::async(std::launch::async, [&] { return swapper.wait(4); });
  while (swapper.stalled_seconds() == 0) std::this_thread::yield();
  control_.open();
  ASSERT_TRUE(waited.get());
  swapper.complete(4);
  ASSERT_TRUE(swapper.drain());
  std::vector<std::uint64_t> chunks = control_.offsets();
  chunks.erase(chunks.begin(), chunks.begin() + static_cast<std::ptrdiff_t>(before_));
  for (std::uint64_t& offset : chunks) offset /= extent_alignment;
  EXPECT_EQ(chunks, (std::vector<std::uint64_t>{0, 3, 1, 2}));
}

TEST_F(SwapperTest, WaitsForATransferItself) {
  make_store(1);
  Buffer buffer(store_->layout().chunk(0).bytes);
  Swapper swapper(
      *store_, {{.transfer = TransferRequest{.chunk = 0, .sections = 15, .buffer = buffer.data()},
                 .after = {}}});
  swapper.begin_pass(false);
  ASSERT_TRUE(swapper.wait(0));
  EXPECT_TRUE(holds(buffer.slice(0, buffer.size()), 0));
  EXPECT_GT(swapper.times(0).completed, 0);
}

TEST_F(SwapperTest, CountsTheTimeItWasBlocked) {
  make_store(1);
  Buffer buffer(store_->layout().chunk(0).bytes);
  Swapper swapper(
      *store_, {{.transfer = std::nullopt, .after = {}},
                {.transfer = TransferRequest{.chunk = 0, .sections = 15, .buffer = buffer.data()},
                 .after = {}}});
  control_.close();
  swapper.begin_pass(false);
  ASSERT_TRUE(swapper.wait(0));
  EXPECT_EQ(swapper.stalled_seconds(), 0) << "nothing was waited for";
  auto waited = std::async(std::launch::async, [&] { return swapper.wait(1); });
  while (swapper.stalled_seconds() == 0) std::this_thread::yield();
  const double so_far = swapper.stalled_seconds();
  control_.open();
  ASSERT_TRUE(waited.get());
  const double in_all = swapper.stalled_seconds();
  EXPECT_GE(in_all, so_far);
  EXPECT_EQ(swapper.stalled_seconds(), in_all) << "it stands still while nothing waits";
}

// --- against a model
// --------------------------------------------------------------------------------

class SwapperOfRandomProgram : public SwapperTest,
                               public testing::WithParamInterface<std::uint64_t> {};

TEST_P(SwapperOfRandomProgram, ReadsWhatWasLastWrittenHoweverTransfersAreReordered) {
  make_store(RandomProgram::chunks);
  control_.shuffle(GetParam());
  RandomProgram program(GetParam(), store_->layout());
  std::mt19937_64 random(GetParam() + 1);
  Swapper swapper(*store_, program.nodes());
  for (int pass = 0; pass < 6; ++pass) {
    swapper.begin_pass(pass < 5 && random() % 4 != 0);
    const Result<void> passed = program.run(swapper);
    ASSERT_TRUE(passed) << passed.error().message();
    if (random() % 3 == 0) {
      ASSERT_TRUE(swapper.drain());
      EXPECT_EQ(control_.in_flight(), 0U);
    }
  }
  ASSERT_TRUE(swapper.drain());
  EXPECT_EQ(program.differing_chunks(*store_), 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SwapperOfRandomProgram, testing::Range<std::uint64_t>(0, 60));

// --- failures
// ---------------------------------------------------------------------------------------

class SwapperFailure : public SwapperTest, public testing::WithParamInterface<bool> {};

// -ENXIO is final for reads and writes alike: the queue retries neither.
TEST_P(SwapperFailure, OfOperationNEndsInATypedErrorAndQuietBuffersForEveryN) {
  const bool for_ever = GetParam();
  bool clean = false;
  std::uint64_t failures = 0;
  for (std::uint64_t n = 0; !clean; ++n) {
    ASSERT_LT(n, 200U) << "a run without failures was expected before";
    control_.fail_with({});
    make_store(5);
    const std::uint64_t from = before_;
    control_.fail_with([=](std::uint64_t nth) {
      return nth == from + n || (for_ever && nth > from + n) ? -ENXIO : 0;
    });
    std::vector<Buffer> slots;
    const Ring ring = ring_program(5, 2, true, slots, store_->layout().chunk(0).bytes);
    Swapper swapper(*store_, ring.nodes);
    Result<void> outcome;
    for (int pass = 0; pass < 3 && outcome; ++pass) {
      swapper.begin_pass(pass < 2);
      for (const NodeId node : ring.computed) {
        outcome = swapper.wait(node);
        if (!outcome) break;
        swapper.complete(node);
      }
    }
    const Result<void> drained = swapper.drain();
    EXPECT_EQ(control_.in_flight(), 0U);
    clean = drained.has_value();
    if (clean) {
      EXPECT_TRUE(outcome);
      continue;
    }
    ++failures;
    for (const Result<void>& result : {swapper.wait(0), swapper.drain()}) {
      ASSERT_FALSE(result) << "the first failure stays";
      EXPECT_EQ(result.error().message(), drained.error().message());
    }
    EXPECT_EQ(drained.error().errno_value(), ENXIO);
    for (const std::string& part :
         {std::string("unit the unit"), std::string("chunk"), directory_.path()})
      EXPECT_NE(drained.error().message().find(part), std::string::npos)
          << drained.error().message();
    const std::uint64_t until = started();
    swapper.begin_pass(true);
    swapper.complete(ring.computed[0]);
    store_->drain();
    EXPECT_EQ(started(), until) << "nothing is submitted after a failure";
  }
  EXPECT_EQ(failures, 3U * 5 * 2) << "each transfer of three passes failed once";
}

INSTANTIATE_TEST_SUITE_P(Faults, SwapperFailure, testing::Bool(),
                         [](const auto& instance) { return instance.param ? "ForEver" : "Once"; });

TEST_F(SwapperTest, DestructionInMidPassWaitsForWhatIsUnderWayAndSubmitsNoMore) {
  make_store(6);
  std::vector<Buffer> slots;
  const Ring ring = ring_program(6, 3, true, slots, store_->layout().chunk(0).bytes);
  auto swapper = std::make_unique<Swapper>(*store_, ring.nodes);
  swapper->begin_pass(true);
  ASSERT_TRUE(swapper->wait(ring.computed[0]));
  store_->drain();
  control_.close();
  swapper->complete(ring.computed[0]);  // starts the write-back of chunk 0
  control_.await_started(before_ + 4);
  auto destroyed = std::async(std::launch::async, [&] { swapper.reset(); });
  control_.open();
  destroyed.get();
  EXPECT_EQ(control_.in_flight(), 0U);
  store_->drain();
  EXPECT_LE(started(), 5U);
}

TEST_F(SwapperTest, DestructionWithoutAPassIsClean) {
  make_store(1);
  const Swapper swapper(*store_, {});
  EXPECT_EQ(started(), 0U);
}

// --- misuse
// -----------------------------------------------------------------------------------------

class SwapperDeathTest : public SwapperTest {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    make_store(2);
    ring_ = ring_program(2, 2, false, slots_, store_->layout().chunk(0).bytes);
    swapper_ = std::make_unique<Swapper>(*store_, ring_.nodes);
  }
  std::vector<Buffer> slots_;
  Ring ring_;
  std::unique_ptr<Swapper> swapper_;
};

TEST_F(SwapperDeathTest, WaitingBeforeAPassHasBegun) {
  EXPECT_DEATH(static_cast<void>(swapper_->wait(1)), "a pass has begun");
}

TEST_F(SwapperDeathTest, CompletingANodeTwice) {
  swapper_->begin_pass(false);
  ASSERT_TRUE(swapper_->wait(1));
  swapper_->complete(1);
  EXPECT_DEATH(swapper_->complete(1), "once a pass");
}

TEST_F(SwapperDeathTest, CompletingATransfer) {
  swapper_->begin_pass(false);
  EXPECT_DEATH(swapper_->complete(0), "computed nodes only");
}

TEST_F(SwapperDeathTest, CompletingANodeBeforeItsData) {
  control_.close();
  swapper_->begin_pass(false);
  EXPECT_DEATH(swapper_->complete(1), "after everything it comes after");
  control_.open();
}

TEST_F(SwapperDeathTest, WaitingForWhatNeedsAComputationNotYetDone) {
  const std::vector<Node> chain = {{.transfer = std::nullopt, .after = {}},
                                   {.transfer = std::nullopt, .after = {{0, 0}}}};
  Swapper swapper(*store_, chain);
  swapper.begin_pass(false);
  EXPECT_DEATH(static_cast<void>(swapper.wait(1)), "yet to compute");
  swapper.complete(0);
  EXPECT_TRUE(swapper.wait(1));
}

TEST_F(SwapperDeathTest, BeginningAPassBeforeTheOneBeforeIsComputed) {
  swapper_->begin_pass(false);
  EXPECT_DEATH(swapper_->begin_pass(false), "all nodes of the one before");
}

TEST_F(SwapperDeathTest, DependingOnALaterNodeOfTheSamePass) {
  const std::vector<Node> backwards = {{.transfer = std::nullopt, .after = {{1, 0}}},
                                       {.transfer = std::nullopt, .after = {}}};
  EXPECT_DEATH(Swapper(*store_, backwards), "after earlier ones");
}

}  // namespace
}  // namespace fathom::swap
