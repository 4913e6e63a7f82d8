// SPDX-License-Identifier: Apache-2.0
#include "engine/region_heap.hpp"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace fathom::engine {
namespace {

constexpr std::uint64_t page = RegionHeap::grain;

TEST(RegionHeap, GivesTheSameBlockAgain) {
  RegionHeap heap(100 * page);
  const auto first = heap.take(10 * page);
  heap.give_back(*first);
  EXPECT_EQ(heap.take(10 * page), first);
}

TEST(RegionHeap, MergesNeighboursSoThatTheWholeIsFoundAgain) {
  RegionHeap heap(30 * page);
  const auto a = heap.take(10 * page), b = heap.take(10 * page), c = heap.take(10 * page);
  EXPECT_FALSE(heap.take(1));
  heap.give_back(*a);
  heap.give_back(*c);
  EXPECT_FALSE(heap.take(11 * page)) << "the middle is still taken";
  heap.give_back(*b);
  EXPECT_TRUE(heap.take(30 * page));
}

TEST(RegionHeap, ReturnedPagesAreNoLongerResidentAndComeBackWhenTaken) {
  RegionHeap heap(20 * page);
  const auto a = heap.take(12 * page);
  EXPECT_EQ(heap.resident(), 12 * page);
  heap.give_back(*a);
  EXPECT_EQ(heap.used(), 0U);
  EXPECT_EQ(heap.resident(), 12 * page) << "free, but the pages may still be there";
  const auto returned = heap.largest_resident_free();
  ASSERT_TRUE(returned);
  EXPECT_EQ(returned->second, 12 * page);
  EXPECT_EQ(heap.resident(), 0U);
  EXPECT_FALSE(heap.largest_resident_free());
  EXPECT_TRUE(heap.take(20 * page)) << "returned and never used pages are one block again";
  EXPECT_EQ(heap.resident(), 20 * page);
}

TEST(RegionHeap, BlocksNeverOverlapAndTheSumsHold) {
  constexpr std::uint64_t pages = 512;
  std::mt19937 random(11);
  RegionHeap heap(pages * page);
  std::map<std::uint64_t, std::uint64_t> taken;
  for (int i = 0; i < 20'000; ++i) {
    const auto what = random() % 8;
    if (what < 4) {
      const std::uint64_t bytes = 1 + random() % (40 * page);
      if (const auto offset = heap.take(bytes)) {
        const std::uint64_t size = heap.bytes_of(*offset);
        ASSERT_GE(size, bytes);
        const auto next = taken.lower_bound(*offset);
        if (next != taken.end()) {
          ASSERT_LE(*offset + size, next->first);
        }
        if (next != taken.begin()) {
          ASSERT_LE(std::prev(next)->first + std::prev(next)->second, *offset);
        }
        ASSERT_LE(*offset + size, pages * page);
        taken.emplace(*offset, size);
      }
    } else if (what < 7 && !taken.empty()) {
      const auto victim =
          std::next(taken.begin(), static_cast<std::ptrdiff_t>(random() % taken.size()));
      heap.give_back(victim->first);
      taken.erase(victim);
    } else {
      (void)heap.largest_resident_free();
    }
    std::uint64_t used = 0;
    for (const auto& [offset, size] : taken) used += size;
    ASSERT_EQ(heap.used(), used);
    ASSERT_GE(heap.resident(), used);
    ASSERT_LE(heap.resident(), pages * page);
  }
}

}  // namespace
}  // namespace fathom::engine
