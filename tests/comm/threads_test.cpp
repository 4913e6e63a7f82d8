// SPDX-License-Identifier: Apache-2.0
//
// What ends a job of thread ranks: stalls, failures, early ends, calls that do not fit.
#include "comm/threads.hpp"

#include <latch>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "comm/exchange_communicator.hpp"

namespace fathom::comm {
namespace {

// Short limits; the tests wait for what happens, not for a time.
constexpr Limits short_limits{.beat = 0.02, .arrival = 0.2, .silence = 60, .exit = 0};

std::vector<std::string> errors_of(int size, const Limits& limits,
                                   const std::function<Result<void>(Communicator&)>& body) {
  auto ranks = thread_ranks(size, limits);
  std::vector<std::string> errors(static_cast<std::size_t>(size), "none");
  std::vector<std::thread> threads;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank)
    threads.emplace_back([&, rank] {
      if (const Result<void> result = body(*ranks[rank]); !result)
        errors[rank] = result.error().message();
      // The first to end must not disturb the others.
      ranks[rank].reset();
    });
  for (std::thread& thread : threads) thread.join();
  return errors;
}

TEST(ThreadRanks, AStalledRankEndsTheOthersAndIsNamed) {
  std::latch others_failed(2);
  const auto errors = errors_of(3, short_limits, [&](Communicator& comm) -> Result<void> {
    FATHOM_CHECK(comm.barrier());
    if (comm.rank() == 1) {
      others_failed.wait();  // it never comes, until the others have given up
      return comm.barrier();
    }
    const Result<void> result = comm.barrier();
    others_failed.count_down();
    return result;
  });
  for (const std::string& error : errors) {
    EXPECT_NE(error.find("barrier: collective 2 of 3 ranks: rank 1 did not arrive within 0.2 s"),
              std::string::npos)
        << error;
  }
}

TEST(ThreadRanks, AReportedErrorEndsTheOthers) {
  const auto errors = errors_of(4, {.beat = 0.02}, [](Communicator& comm) -> Result<void> {
    if (comm.rank() == 2) {
      const Error error = Error(Errc::io, "read").on("/mnt/x").because("bad sector");
      comm.report(error);
      return fail(error);
    }
    float value = 0;
    for (;;) FATHOM_CHECK(comm.all_reduce(Element::fp32, Reduction::sum, &value, 1));
  });
  for (const std::size_t rank : {0, 1, 3})
    EXPECT_EQ(errors[rank], "read: rank 2, /mnt/x: bad sector");
  EXPECT_EQ(errors[2], "read: /mnt/x: bad sector");
}

TEST(ThreadRanks, ARankThatEndsEarlyIsNamed) {
  const auto errors = errors_of(3, {.beat = 0.02}, [](Communicator& comm) -> Result<void> {
    FATHOM_CHECK(comm.barrier());
    if (comm.rank() == 2) return {};
    return comm.barrier();
  });
  EXPECT_EQ(errors[2], "none");
  for (const std::size_t rank : {0, 1})
    EXPECT_NE(errors[rank].find("rank 2: it ended after collective 1 while others are at 2"),
              std::string::npos)
        << errors[rank];
}

TEST(ThreadRanks, CallsThatDoNotFitAreAnError) {
  const auto errors = errors_of(2, {.beat = 0.02}, [](Communicator& comm) -> Result<void> {
    std::vector<float> data(8);
    if (comm.rank() == 0) return comm.all_gather(Element::fp32, data.data(), data.data(), 4);
    return comm.reduce_scatter(Element::fp32, Reduction::sum, data.data(), data.data() + 3, 3);
  });
  for (const std::string& error : errors)
    EXPECT_NE(error.find("all ranks must make the same calls"), std::string::npos) << error;
}

TEST(ThreadRanks, AFailedJobStaysFailed) {
  const auto errors = errors_of(2, {.beat = 0.02}, [](Communicator& comm) -> Result<void> {
    if (comm.rank() == 0) comm.report(Error(Errc::io, "read"));
    while (comm.status()) std::this_thread::yield();
    EXPECT_FALSE(comm.barrier());
    EXPECT_FALSE(comm.gather_text("x"));
    return comm.status();
  });
  EXPECT_EQ(errors, (std::vector<std::string>{"read: rank 0", "read: rank 0"}));
}

TEST(ThreadRanks, OneRankAloneNeedsNobody) {
  const auto comm = alone();
  std::vector<float> in{1, 2, 3}, out(3);
  EXPECT_TRUE(comm->all_gather(Element::fp32, in.data(), out.data(), 3));
  EXPECT_EQ(out, in);
  EXPECT_TRUE(comm->reduce_scatter(Element::fp32, Reduction::sum, in.data(), out.data(), 3));
  EXPECT_TRUE(comm->barrier());
  EXPECT_EQ(comm->traffic().total().elements, 0U);
  EXPECT_EQ(ExchangeCommunicator::staging_bytes(1), 0U);
}

TEST(ThreadRanks, BytesHaveNoSum) {
  const auto comm = alone();
  std::uint8_t byte = 0;
  EXPECT_DEATH((void)comm->all_reduce(Element::bytes, Reduction::sum, &byte, 1),
               "bytes have no sum");
}

}  // namespace
}  // namespace fathom::comm
