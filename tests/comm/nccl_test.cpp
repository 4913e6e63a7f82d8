// SPDX-License-Identifier: Apache-2.0
//
// NCCL over the GPUs of this machine, one thread a rank; needs no LibTorch.
#include "comm/nccl.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "nccl_buffers.hpp"

namespace fathom::comm {
namespace {

constexpr Limits limits{.beat = 0.1, .arrival = 60, .silence = 60, .exit = 0};

void on_gpus(const std::function<void(Communicator&, cuda::Stream&)>& body) {
  const int size = std::min(cuda::devices(), 4);
  if (size < 2) GTEST_SKIP() << "NCCL between ranks needs two GPUs, this machine shows " << size;
  const auto store = memory_store();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      cuda::Stream stream(rank);
      const auto comm = open_nccl(
          {.store = store, .rank = rank, .size = size, .device = rank, .stream = stream.native()},
          limits);
      ASSERT_TRUE(comm) << comm.error().message();
      body(**comm, stream);
    });
  for (std::thread& thread : threads) thread.join();
}

#define MUST(...)                                                       \
  do {                                                                  \
    const auto result_ = (__VA_ARGS__);                                 \
    EXPECT_TRUE(result_) << (result_ ? "" : result_.error().message()); \
  } while (false)

// Small whole numbers: their sums are exact in every order.
std::vector<float> numbers(int rank, std::size_t count) {
  std::vector<float> data(count);
  for (std::size_t i = 0; i < count; ++i)
    data[i] = static_cast<float>(i % 64) + static_cast<float>(rank);
  return data;
}

TEST(Nccl, GathersInPlace) {
  on_gpus([](Communicator& comm, cuda::Stream& stream) {
    for (const std::size_t count : {0UL, 1UL, 1'025UL, 2'000'003UL}) {
      const auto size = static_cast<std::size_t>(comm.size());
      const auto rank = static_cast<std::size_t>(comm.rank());
      cuda::Buffer whole(count * size);
      stream.upload(whole, rank * count, numbers(comm.rank(), count));
      MUST(comm.all_gather(Element::fp32, whole.at(rank * count), whole.at(0), count));
      MUST(comm.finish());
      std::vector<float> expected;
      for (int other = 0; other < comm.size(); ++other) {
        const auto part = numbers(other, count);
        expected.insert(expected.end(), part.begin(), part.end());
      }
      EXPECT_EQ(stream.download(whole), expected);
    }
  });
}

TEST(Nccl, ReduceScattersAndAllReduces) {
  on_gpus([](Communicator& comm, cuda::Stream& stream) {
    const auto size = static_cast<std::size_t>(comm.size());
    const auto rank = static_cast<std::size_t>(comm.rank());
    constexpr std::size_t count = 10'007;
    std::vector<float> sum(count * size);
    for (int other = 0; other < comm.size(); ++other) {
      const auto part = numbers(other, sum.size());
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
    }
    cuda::Buffer whole(count * size), part(count);
    stream.upload(whole, 0, numbers(comm.rank(), count * size));
    MUST(comm.reduce_scatter(Element::fp32, Reduction::sum, whole.at(0), part.at(0), count));
    MUST(comm.all_reduce(Element::fp32, Reduction::sum, whole.at(0), count * size));
    MUST(comm.finish());
    const auto first = sum.begin() + static_cast<std::ptrdiff_t>(rank * count);
    EXPECT_EQ(stream.download(part), std::vector<float>(first, first + count));
    EXPECT_EQ(stream.download(whole), sum);
    const Traffic traffic = comm.traffic();
    EXPECT_EQ(traffic.total().elements, 3 * count * size);
    EXPECT_GT(traffic[Collective::all_reduce].seconds, 0);
  });
}

TEST(Nccl, BroadcastsTakesMaximaAndWaits) {
  on_gpus([](Communicator& comm, cuda::Stream& stream) {
    cuda::Buffer data(100);
    for (int root = 0; root < comm.size(); ++root) {
      stream.upload(data, 0, numbers(comm.rank(), 100));
      MUST(comm.broadcast(Element::fp32, data.at(0), 100, root));
      MUST(comm.finish());
      EXPECT_EQ(stream.download(data), numbers(root, 100));
    }
    stream.upload(data, 0, numbers(comm.rank(), 100));
    MUST(comm.all_reduce(Element::fp32, Reduction::max, data.at(0), 100));
    MUST(comm.barrier());
    MUST(comm.finish());
    EXPECT_EQ(stream.download(data), numbers(comm.size() - 1, 100));
  });
}

TEST(Nccl, MoreCallsThanMayBeOutstandingAreFine) {
  on_gpus([](Communicator& comm, cuda::Stream& stream) {
    cuda::Buffer data(8);
    stream.upload(data, 0, std::vector<float>(8, 1));
    for (int i = 0; i < 500; ++i)
      MUST(comm.all_reduce(Element::fp32, Reduction::max, data.at(0), 8));
    MUST(comm.finish());
    EXPECT_EQ(comm.traffic()[Collective::all_reduce].calls, 500U);
  });
}

TEST(Nccl, ARankThatStallsEndsTheOthers) {
  on_gpus([](Communicator& comm, cuda::Stream& stream) {
    cuda::Buffer data(8);
    stream.upload(data, 0, std::vector<float>(8, 1));
    if (comm.rank() == 1) {
      comm.report(Error(Errc::io, "read").on("/mnt/x"));
      return;
    }
    const Result<void> called = comm.all_reduce(Element::fp32, Reduction::sum, data.at(0), 8);
    const Result<void> result = called ? comm.finish() : called;
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message(), "read: rank 1, /mnt/x");
  });
}

TEST(Nccl, IsRefusedWithTheReasonWhereItIsMissing) {
  if (cuda::devices() > 0) GTEST_SKIP() << "this machine has a GPU";
  const auto comm = open_nccl({.store = memory_store(), .rank = 0, .size = 1}, limits);
  ASSERT_FALSE(comm);
  EXPECT_FALSE(comm.error().why().empty());
  EXPECT_FALSE(comm.error().remedy_text().empty());
}

}  // namespace
}  // namespace fathom::comm
