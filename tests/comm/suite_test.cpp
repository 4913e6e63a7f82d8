// SPDX-License-Identifier: Apache-2.0
//
// What every transport does the same: the behaviour suite of Communicator.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>
#include <vector>

#include "base/random.hpp"
#include "comm/agree.hpp"
#include "kernels/bits.hpp"
#include "ranks.hpp"

namespace fathom::comm {
namespace {

// Awkward on purpose: nothing, one, odd, one above and one below a vector register, larger than a
// piece of staging (4 Mi elements over all ranks).
std::vector<std::size_t> counts_of(Element element) {
  std::vector<std::size_t> counts{0, 1, 7, 31, 1'025};
  if (element == Element::bf16) counts.push_back(2'200'003);
  return counts;
}
constexpr std::array<Element, 3> numbers{Element::fp32, Element::bf16, Element::fp16};

#define EXPECT_OK(...)                                                  \
  do {                                                                  \
    const auto result_ = (__VA_ARGS__);                                 \
    EXPECT_TRUE(result_) << (result_ ? "" : result_.error().message()); \
  } while (false)

// One buffer of `count` elements as bytes.
using Bytes = std::vector<std::uint8_t>;

float value_of(Element element, const void* data, std::size_t i) {
  std::uint32_t bits = 0;
  if (element == Element::fp32) {
    std::memcpy(&bits, static_cast<const std::uint8_t*>(data) + 4 * i, 4);
    return std::bit_cast<float>(bits);
  }
  std::uint16_t half = 0;
  std::memcpy(&half, static_cast<const std::uint8_t*>(data) + 2 * i, 2);
  return std::bit_cast<float>(element == Element::bf16 ? kernels::bf16_to_fp32_bits(half)
                                                       : kernels::fp16_to_fp32_bits(half));
}

void put(Element element, void* data, std::size_t i, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (element == Element::fp32) {
    std::memcpy(static_cast<std::uint8_t*>(data) + 4 * i, &bits, 4);
    return;
  }
  const std::uint16_t half = element == Element::bf16 ? kernels::fp32_to_bf16_bits(bits)
                                                      : kernels::fp32_to_fp16_bits(bits);
  std::memcpy(static_cast<std::uint8_t*>(data) + 2 * i, &half, 2);
}

// What rank `rank` holds at element `i`: magnitudes differ, so that the order of a sum shows.
float input(int rank, std::size_t i) {
  const std::uint64_t mixed = (i + 1) * 0x9e3779b97f4a7c15ULL ^
                              (static_cast<std::uint64_t>(rank) + 1) * 0xbf58476d1ce4e5b9ULL;
  const auto mantissa = static_cast<float>((mixed >> 40) & 0xffffU) / 65536.0F + 0.5F;
  const int exponent = static_cast<int>((mixed >> 20) % 16) - 8;
  return std::ldexp((mixed & 1U) != 0 ? mantissa : -mantissa, exponent);
}

Bytes inputs(Element element, int rank, std::size_t count, std::size_t first = 0) {
  Bytes data(count * width(element));
  for (std::size_t i = 0; i < count; ++i) {
    if (element == Element::bytes)
      data[i] = static_cast<std::uint8_t>((first + i) * 7 + static_cast<std::size_t>(rank) * 31);
    else
      put(element, data.data(), i, input(rank, first + i));
  }
  return data;
}

// The definition: added in rank order in fp32, rounded once.
Bytes reduced(Element element, Reduction reduction, int ranks, std::size_t count,
              std::size_t first = 0) {
  Bytes result = inputs(element, 0, count, first);
  std::vector<Bytes> all;
  for (int rank = 0; rank < ranks; ++rank) all.push_back(inputs(element, rank, count, first));
  for (std::size_t i = 0; i < count; ++i) {
    if (element == Element::bytes) {
      for (const Bytes& one : all) result[i] = std::max(result[i], one[i]);
      continue;
    }
    float total = value_of(element, all[0].data(), i);
    for (std::size_t rank = 1; rank < all.size(); ++rank) {
      const float next = value_of(element, all[rank].data(), i);
      total = reduction == Reduction::sum ? total + next : std::max(total, next);
    }
    put(element, result.data(), i, total);
  }
  return result;
}

class Suite : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (!why_no_ranks().empty()) GTEST_SKIP() << why_no_ranks();
  }
};

TEST_P(Suite, KnowsItsRankAndSize) {
  std::mutex mutex;
  std::vector<int> seen;
  on_ranks(GetParam(), [&](Communicator& comm) {
    EXPECT_EQ(comm.size(), GetParam());
    EXPECT_EQ(comm.transport(), transport_under_test());
    const std::lock_guard lock(mutex);
    seen.push_back(comm.rank());
  });
  std::ranges::sort(seen);
  EXPECT_EQ(std::ranges::unique(seen).begin(), seen.end()) << "a rank twice";
}

TEST_P(Suite, AllGatherPutsEveryPartInItsPlace) {
  on_ranks(GetParam(), [](Communicator& comm) {
    const auto size = static_cast<std::size_t>(comm.size());
    for (const Element element : {Element::fp32, Element::bf16, Element::fp16, Element::bytes})
      for (const std::size_t count : counts_of(element)) {
        Bytes expected;
        for (int rank = 0; rank < comm.size(); ++rank) {
          const Bytes part = inputs(element, rank, count);
          expected.insert(expected.end(), part.begin(), part.end());
        }
        const Bytes part = inputs(element, comm.rank(), count);
        Bytes whole(size * part.size(), 0xee);
        EXPECT_OK(comm.all_gather(element, part.data(), whole.data(), count));
        EXPECT_EQ(whole, expected) << count << " " << to_string(element);

        Bytes in_place(size * part.size(), 0xee);
        std::uint8_t* own = in_place.data() + static_cast<std::size_t>(comm.rank()) * part.size();
        std::ranges::copy(part, own);
        EXPECT_OK(comm.all_gather(element, own, in_place.data(), count));
        EXPECT_EQ(in_place, expected) << count << " " << to_string(element) << " in place";
      }
  });
}

TEST_P(Suite, ReduceScatterAddsInRankOrderAndRoundsOnce) {
  on_ranks(GetParam(), [](Communicator& comm) {
    const auto size = static_cast<std::size_t>(comm.size());
    const auto rank = static_cast<std::size_t>(comm.rank());
    for (const Element element : numbers)
      for (const std::size_t count : counts_of(element)) {
        const Bytes expected = reduced(element, Reduction::sum, comm.size(), count, rank * count);
        const Bytes whole = inputs(element, comm.rank(), size * count);
        Bytes part(expected.size(), 0xee);
        EXPECT_OK(comm.reduce_scatter(element, Reduction::sum, whole.data(), part.data(), count));
        EXPECT_EQ(part, expected) << count << " " << to_string(element);

        // In place: this rank's slice is the result, the others' slices stay.
        Bytes in_place = whole, kept = whole;
        std::ranges::copy(expected, kept.begin() + static_cast<std::ptrdiff_t>(rank * part.size()));
        EXPECT_OK(comm.reduce_scatter(element, Reduction::sum, in_place.data(),
                                      in_place.data() + rank * part.size(), count));
        EXPECT_EQ(in_place, kept) << count << " " << to_string(element) << " in place";
      }
  });
}

TEST_P(Suite, AllReduceGivesEveryRankTheSameBits) {
  on_ranks(GetParam(), [](Communicator& comm) {
    for (const Element element : numbers)
      for (const std::size_t count : counts_of(element)) {
        const Bytes expected = reduced(element, Reduction::sum, comm.size(), count);
        Bytes data = inputs(element, comm.rank(), count);
        EXPECT_OK(comm.all_reduce(element, Reduction::sum, data.data(), count));
        EXPECT_EQ(data, expected) << count << " " << to_string(element);
      }
  });
}

TEST_P(Suite, MaximumTakesTheLargestOfAllRanks) {
  on_ranks(GetParam(), [](Communicator& comm) {
    for (const Element element : {Element::fp32, Element::bf16, Element::fp16, Element::bytes})
      for (const std::size_t count : {std::size_t{1}, std::size_t{1'025}}) {
        Bytes data = inputs(element, comm.rank(), count);
        EXPECT_OK(comm.all_reduce(element, Reduction::max, data.data(), count));
        EXPECT_EQ(data, reduced(element, Reduction::max, comm.size(), count)) << to_string(element);
        const auto rank = static_cast<std::size_t>(comm.rank());
        const Bytes whole =
            inputs(element, comm.rank(), count * static_cast<std::size_t>(comm.size()));
        Bytes part(count * width(element));
        EXPECT_OK(comm.reduce_scatter(element, Reduction::max, whole.data(), part.data(), count));
        EXPECT_EQ(part, reduced(element, Reduction::max, comm.size(), count, rank * count));
      }
    // One rank has overflowed: all of them know.
    std::uint8_t flag = comm.rank() == comm.size() - 1 ? 1 : 0;
    EXPECT_OK(comm.all_reduce(Element::bytes, Reduction::max, &flag, 1));
    EXPECT_EQ(flag, 1);
    flag = 0;
    EXPECT_OK(comm.all_reduce(Element::bytes, Reduction::max, &flag, 1));
    EXPECT_EQ(flag, 0);
  });
}

TEST_P(Suite, NanOfOneRankReachesAll) {
  on_ranks(GetParam(), [](Communicator& comm) {
    for (const Element element : numbers)
      for (const Reduction reduction : {Reduction::sum, Reduction::max}) {
        Bytes data(2 * width(element));
        const float nan = std::numeric_limits<float>::quiet_NaN();
        put(element, data.data(), 0, comm.rank() == 0 ? nan : 1.0F);
        put(element, data.data(), 1, comm.rank() == comm.size() - 1 ? nan : -1.0F);
        EXPECT_OK(comm.all_reduce(element, reduction, data.data(), 2));
        EXPECT_TRUE(std::isnan(value_of(element, data.data(), 0))) << to_string(element);
        EXPECT_TRUE(std::isnan(value_of(element, data.data(), 1))) << to_string(element);
      }
  });
}

TEST_P(Suite, SumOfHalvesThatLeavesTheirRangeIsInfinite) {
  on_ranks(GetParam(), [](Communicator& comm) {
    if (comm.size() == 1) return;
    std::uint16_t half = 0x7bff;  // 65504, the largest fp16
    EXPECT_OK(comm.all_reduce(Element::fp16, Reduction::sum, &half, 1));
    EXPECT_EQ(half, 0x7c00);
  });
}

TEST_P(Suite, BroadcastCopiesFromAnyRoot) {
  on_ranks(GetParam(), [](Communicator& comm) {
    for (int root = 0; root < comm.size(); ++root)
      for (const Element element : {Element::bf16, Element::bytes})
        for (const std::size_t count : counts_of(element)) {
          Bytes data = inputs(element, comm.rank(), count);
          EXPECT_OK(comm.broadcast(element, data.data(), count, root));
          EXPECT_EQ(data, inputs(element, root, count)) << count << " from " << root;
        }
  });
}

TEST_P(Suite, BuffersNeedNoAlignmentBeyondTheirElement) {
  on_ranks(GetParam(), [](Communicator& comm) {
    constexpr std::size_t count = 513;
    for (const Element element : numbers) {
      const std::size_t shift = width(element);
      Bytes data = inputs(element, comm.rank(), count);
      data.insert(data.begin(), shift, 0);
      EXPECT_OK(comm.all_reduce(element, Reduction::sum, data.data() + shift, count));
      const Bytes expected = reduced(element, Reduction::sum, comm.size(), count);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(),
                             data.begin() + static_cast<std::ptrdiff_t>(shift)));
    }
  });
}

TEST_P(Suite, ReductionsRepeatBitForBit) {
  on_ranks(GetParam(), [](Communicator& comm) {
    constexpr std::size_t count = 100'003;
    const Bytes start = inputs(Element::fp32, comm.rank(), count);
    Bytes first = start;
    EXPECT_OK(comm.all_reduce(Element::fp32, Reduction::sum, first.data(), count));
    for (int again = 0; again < 5; ++again) {
      Bytes data = start;
      EXPECT_OK(comm.all_reduce(Element::fp32, Reduction::sum, data.data(), count));
      EXPECT_EQ(data, first);
    }
  });
}

TEST_P(Suite, ManySmallCallsKeepTheirOrder) {
  on_ranks(GetParam(), [](Communicator& comm) {
    for (int round = 0; round < 300; ++round) {
      auto value = static_cast<float>(comm.rank() + round);
      EXPECT_OK(comm.all_reduce(Element::fp32, Reduction::sum, &value, 1));
      const int size = comm.size();
      EXPECT_EQ(value, static_cast<float>(size * round + size * (size - 1) / 2));
      if (round % 50 == 0) EXPECT_OK(comm.barrier());
    }
    EXPECT_OK(comm.finish());
  });
}

TEST_P(Suite, CountsWhatItMovesByZeROsConvention) {
  on_ranks(GetParam(), [](Communicator& comm) {
    const auto size = static_cast<std::size_t>(comm.size());
    constexpr std::size_t part = 1000;
    const std::size_t all = part * size;
    std::vector<std::uint16_t> weights(all);
    std::vector<float> grads(all);
    const Traffic before = comm.traffic();
    // A step at stage 3: weights for forward, weights for backward, gradients.
    std::uint16_t* own = weights.data() + static_cast<std::size_t>(comm.rank()) * part;
    EXPECT_OK(comm.all_gather(Element::bf16, own, weights.data(), part));
    EXPECT_OK(comm.all_gather(Element::bf16, own, weights.data(), part));
    EXPECT_OK(comm.reduce_scatter(Element::fp32, Reduction::sum, grads.data(),
                                  grads.data() + static_cast<std::size_t>(comm.rank()) * part,
                                  part));
    EXPECT_OK(comm.finish());
    const Traffic after = comm.traffic();
    const std::uint64_t moved = after.total().elements - before.total().elements;
    EXPECT_EQ(moved, size == 1 ? 0 : 3 * all);
    const auto gathers = after[Collective::all_gather], old = before[Collective::all_gather];
    EXPECT_EQ(gathers.calls - old.calls, 2U);
    EXPECT_EQ(gathers.bytes - old.bytes, size == 1 ? 0 : 2 * 2 * all);
    const std::uint64_t scattered =
        after[Collective::reduce_scatter].bytes - before[Collective::reduce_scatter].bytes;
    EXPECT_EQ(scattered, size == 1 ? 0 : 4 * all);

    EXPECT_OK(comm.all_reduce(Element::fp32, Reduction::sum, grads.data(), all));
    EXPECT_OK(comm.broadcast(Element::fp32, grads.data(), all, 0));
    EXPECT_OK(comm.barrier());
    EXPECT_OK(comm.finish());
    const Traffic last = comm.traffic();
    EXPECT_EQ(last.total().elements - after.total().elements, size == 1 ? 0 : 3 * all);
    EXPECT_EQ(last[Collective::barrier].calls - after[Collective::barrier].calls, 1U);
  });
}

TEST_P(Suite, TextsOfAllRanksArriveInRankOrder) {
  on_ranks(GetParam(), [](Communicator& comm) {
    for (int round = 0; round < 3; ++round) {
      // Empty texts and zero bytes are texts too.
      const std::string mine = comm.rank() == 0
                                   ? std::string()
                                   : std::string("rank\0 ", 6) + std::to_string(comm.rank());
      const auto texts = comm.gather_text(mine);
      ASSERT_TRUE(texts) << texts.error().message();
      ASSERT_EQ(texts->size(), static_cast<std::size_t>(comm.size()));
      for (int rank = 0; rank < comm.size(); ++rank)
        EXPECT_EQ((*texts)[static_cast<std::size_t>(rank)],
                  rank == 0 ? std::string() : std::string("rank\0 ", 6) + std::to_string(rank));
    }
  });
}

TEST_P(Suite, OneRanksErrorBeforeTheStartIsEveryones) {
  on_ranks(GetParam(), [](Communicator& comm) {
    EXPECT_OK(agree(comm, {}));
    if (comm.size() == 1) return;
    const int failing = comm.size() - 1;
    const Result<void> mine =
        comm.rank() == failing
            ? fail(
                  Error(Errc::no_space, "reserve the store").on("/mnt/x").because("need 2, have 1"))
            : Result<void>();
    const Result<void> all = agree(comm, mine);
    ASSERT_FALSE(all);
    EXPECT_EQ(all.error().code(), Errc::no_space);
    EXPECT_EQ(all.error().message(),
              "reserve the store: rank " + std::to_string(failing) + ", /mnt/x: need 2, have 1");
    // Agreeing on an error is no failure of the communicator: the ranks may close in order.
    EXPECT_OK(comm.barrier());
  });
}

TEST_P(Suite, RanksThatWereGivenDifferentThingsAreRefused) {
  on_ranks(GetParam(), [](Communicator& comm) {
    EXPECT_OK(agree_on(comm, "the seed", "42"));
    if (comm.size() == 1) return;
    const Result<void> all = agree_on(comm, "the seed", comm.rank() == 1 ? "43" : "42");
    ASSERT_FALSE(all);
    EXPECT_EQ(all.error().code(), Errc::bad_config);
    EXPECT_EQ(all.error().why(), "rank 1 has 43, rank 0 has 42");
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, Suite, testing::ValuesIn(sizes_under_test()),
                         [](const testing::TestParamInfo<int>& instance) {
                           return transport_under_test() + std::to_string(instance.param);
                         });

}  // namespace
}  // namespace fathom::comm
