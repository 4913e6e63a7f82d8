// SPDX-License-Identifier: Apache-2.0
#include "config/nearest_name.hpp"

#include <string>

#include <gtest/gtest.h>

namespace fathom::config {
namespace {

TEST(EditDistance, CountsInsertionsRemovalsReplacementsAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("abc", ""), 3U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("stage", "satge"), 1U);
  EXPECT_EQ(edit_distance("CPU", "cpu"), 0U);
}

TEST(EditDistance, IsSymmetric) {
  const std::string_view words[] = {"offload_param", "offload_optimizer", "aio", "",
                                    "sub_group_size"};
  for (const auto a : words)
    for (const auto b : words) EXPECT_EQ(edit_distance(a, b), edit_distance(b, a)) << a << " " << b;
}

TEST(NearestName, FindsATypoAndPrefersTheNearest) {
  const std::string_view names[] = {"block_size", "queue_depth", "queue_width"};
  EXPECT_EQ(nearest_name("block_sise", names), "block_size");
  EXPECT_EQ(nearest_name("queue_dept", names), "queue_depth");
  EXPECT_EQ(nearest_name("queue_widt", names), "queue_width");
}

TEST(NearestName, IsSilentWhenNothingIsNear) {
  const std::string_view names[] = {"block_size", "aio"};
  EXPECT_EQ(nearest_name("colour", names), std::nullopt);
  EXPECT_EQ(nearest_name("lr", names), std::nullopt);
  EXPECT_EQ(nearest_name(std::string(1 << 20, 'x'), names), std::nullopt);
  EXPECT_EQ(nearest_name("x", {}), std::nullopt);
}

}  // namespace
}  // namespace fathom::config
