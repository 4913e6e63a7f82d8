// SPDX-License-Identifier: Apache-2.0
//
// The pure parts of the queue: what may be in flight, how requests are cut, who is next.
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "aio/bounce.hpp"
#include "aio/flight_budget.hpp"
#include "aio/lineup.hpp"
#include "aio/tickets.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace fathom::aio {
namespace {

TEST(FlightBudget, CountsBytesAndDeviceCommandsExactly) {
  FlightBudget budget(8 * MiB, {{.bytes = 512 * KiB, .commands = 12}});
  EXPECT_TRUE(budget.fits(6 * MiB));
  EXPECT_FALSE(budget.fits(6 * MiB + 1)) << "13 commands";
  budget.take(1 * MiB);
  budget.take(4 * KiB);    // a command, however small
  budget.take(513 * KiB);  // two
  EXPECT_TRUE(budget.fits(7 * 512 * KiB));
  EXPECT_FALSE(budget.fits(8 * 512 * KiB));
  budget.give_back(513 * KiB);
  EXPECT_TRUE(budget.fits(9 * 512 * KiB));
  budget.give_back(1 * MiB);
  budget.give_back(4 * KiB);
  EXPECT_EQ(budget.bytes(), 0U);
  EXPECT_EQ(budget.largest(), 6 * MiB);
  EXPECT_EQ(budget.most_operations(), 12U);
}

TEST(FlightBudget, UsesHalfTheTagsOfEveryDeviceBelow) {
  DeviceChain chain;
  chain.devices.resize(3);
  chain.devices[0].limits.max_transfer = 1 * MiB;
  chain.devices[0].limits.requests = 256;
  chain.devices[1].limits.max_transfer = 128 * KiB;
  chain.devices[1].limits.requests = 64;
  const auto limits = command_limits(chain);  // the third says nothing
  ASSERT_EQ(limits.size(), 2U);
  EXPECT_EQ(limits[0], (CommandLimit{1 * MiB, 128}));
  EXPECT_EQ(limits[1], (CommandLimit{128 * KiB, 32}));
  EXPECT_EQ(FlightBudget(64 * MiB, limits).largest(), 4 * MiB);
}

TEST(FlightBudget, KeepsDeepSpeedsMeaningForWholeBlocks) {
  const QueueOptions options{.block_size = 1 * MiB, .queue_depth = 8, .intra_op_parallelism = 2};
  EXPECT_EQ(byte_budget(options), 16 * MiB);
  EXPECT_GE(operation_limit(options, FlightBudget(byte_budget(options))), 16U);
}

class Cuts : public testing::Test {
 protected:
  void SetUp() override {
    auto direct = File::create_scratch(directory_.path(), 1 * MiB);
    ASSERT_TRUE(direct) << direct.error().message();
    file_ = std::move(*direct);
    if (!file_.direct()) GTEST_SKIP() << "no direct I/O in the temporary directory";
  }
  ScratchDirectory directory_;
  File file_;
};

TEST_F(Cuts, CoverARequestOnceAndGiveTheDeviceWholeBlocksOnly) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 3000; ++round) {
    const std::uint64_t address = 1 * GiB + random() % (round % 2 == 0 ? 1 : 9000);
    Request request{.direction = round % 3 == 0 ? Direction::write : Direction::read,
                    .file = &file_,
                    .offset = random() % 20000,
                    .buffer = reinterpret_cast<std::byte*>(address),
                    .bytes = 1 + random() % 600000};
    const std::uint64_t block = io_alignment << random() % 9;
    std::uint64_t issued = 0;
    while (issued < request.bytes) {
      const Cut piece = cut(request, issued, block);
      ASSERT_GT(piece.bytes, 0U);
      ASSERT_LE(issued + piece.bytes, request.bytes);
      const std::uint64_t begin = request.offset + issued - piece.lead;
      EXPECT_EQ(begin % io_alignment, 0U);
      EXPECT_EQ(piece.span % io_alignment, 0U);
      EXPECT_LT(piece.lead, io_alignment);
      EXPECT_GE(piece.span, piece.lead + piece.bytes);
      EXPECT_LT(piece.span, piece.lead + piece.bytes + io_alignment);
      if (piece.route == Route::direct) {
        EXPECT_EQ((address + issued) % io_alignment, 0U);
        EXPECT_EQ(piece.span, piece.bytes);
        EXPECT_LE(piece.bytes, block);
      } else {
        EXPECT_LE(piece.span, bounce_bytes);
      }
      if (request.direction == Direction::write && piece.span != piece.bytes) {
        EXPECT_EQ(piece.route, Route::edge);
      }
      issued += piece.bytes;
    }
  }
}

TEST_F(Cuts, LinesServeStrictlyByPriorityAndJoinNeighbours) {
  Lineup lineup(16384);
  std::vector<Job> jobs(6);
  auto* memory = reinterpret_cast<std::byte*>(1 * GiB);
  const auto line_up = [&](std::size_t i, Priority priority, std::uint64_t offset) {
    jobs[i].request = {.priority = priority,
                       .file = &file_,
                       .offset = offset,
                       .buffer = memory + offset,
                       .bytes = 4096};
    lineup.add(jobs[i]);
  };
  line_up(0, Priority::write_back, 0);
  line_up(1, Priority::prefetch, 40960);
  line_up(2, Priority::prefetch, 81920);  // no neighbour
  line_up(3, Priority::prefetch, 45056);  // follows 1, past one that does not
  line_up(4, Priority::demand, 8192);
  line_up(5, Priority::write_back, 4096);  // follows 0
  std::vector<std::vector<Job*>> order;
  while (const auto draft = lineup.next({})) {
    order.emplace_back();
    for (const Piece& piece : draft->pieces()) order.back().push_back(piece.job);
    lineup.take(*draft);
  }
  EXPECT_EQ(order, (std::vector<std::vector<Job*>>{
                       {&jobs[4]}, {&jobs[1], &jobs[3]}, {&jobs[2]}, {&jobs[0], &jobs[5]}}));
  EXPECT_TRUE(lineup.empty());
}

TEST(TicketBook, FindsWhatHasNotFinishedInAnyOrder) {
  TicketBook book;
  std::vector<Job> jobs(1000);
  for (Job& job : jobs) job.ticket = book.issue(job);
  for (std::size_t i = 0; i < jobs.size(); i += 2) book.finish(jobs[i].ticket);
  EXPECT_EQ(book.oldest(), 1U);
  for (std::size_t i = 0; i < jobs.size(); ++i)
    EXPECT_EQ(book.find(i), i % 2 == 0 ? nullptr : &jobs[i]);
  EXPECT_EQ(book.find(1000), nullptr);
  for (std::size_t i = 1; i < jobs.size(); i += 2) book.finish(jobs[i].ticket);
  EXPECT_EQ(book.oldest(), book.next());
}

}  // namespace
}  // namespace fathom::aio
