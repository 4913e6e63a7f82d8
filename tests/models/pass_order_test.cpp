// SPDX-License-Identifier: Apache-2.0
#include "models/pass_order.hpp"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace fathom::models {
namespace {

TEST(PassOrder, WithoutShufflingIsTheOrderOfTheDataOverAndOver) {
  const PassOrder order{.rows = 5};
  EXPECT_EQ(order.per_pass(), 5U);
  for (std::uint64_t place = 0; place < 12; ++place) EXPECT_EQ(order.row(place), place % 5);
}

TEST(PassOrder, LeavesOutWhatFillsNoBatchAnotherPartInEachShuffledPass) {
  const PassOrder order{.rows = 10, .batch = 4, .shuffle = true, .seed = 3};
  EXPECT_EQ(order.per_pass(), 8U);
  std::set<std::uint64_t> ever;
  for (std::uint64_t pass = 0; pass < 20; ++pass) {
    std::set<std::uint64_t> rows;
    for (std::uint64_t i = 0; i < 8; ++i) rows.insert(order.row(pass * 8 + i));
    EXPECT_EQ(rows.size(), 8U) << "no row twice in a pass";
    EXPECT_LT(*rows.rbegin(), 10U);
    ever.insert(rows.begin(), rows.end());
  }
  EXPECT_EQ(ever.size(), 10U) << "every row has its turn";
}

// What ranks read in one step: disjoint, together the step's rows, and micro-batch by micro-batch
// what one rank with all their rows reads.
TEST(PassOrder, RanksShareAStepWithoutOverlap) {
  for (const std::uint64_t world : {1, 2, 3, 8})
    for (const std::uint64_t rows : {1, 2, 5})
      for (const std::uint64_t accumulation : {1, 3}) {
        const std::uint64_t batch = world * rows * accumulation, first = 7 * batch;
        std::set<std::uint64_t> all;
        for (std::uint64_t micro = 0; micro < accumulation; ++micro) {
          std::vector<std::uint64_t> together;
          for (std::uint64_t rank = 0; rank < world; ++rank)
            for (std::uint64_t i = 0; i < rows; ++i)
              together.push_back(first_row(first, micro, rows, rank, world) + i);
          for (std::uint64_t i = 0; i < together.size(); ++i)
            EXPECT_EQ(together[i], first_row(first, micro, rows * world, 0, 1) + i);
          all.insert(together.begin(), together.end());
        }
        EXPECT_EQ(all.size(), batch);
        EXPECT_EQ(*all.begin(), first);
        EXPECT_EQ(*all.rbegin(), first + batch - 1);
      }
}

}  // namespace
}  // namespace fathom::models
