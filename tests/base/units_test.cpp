// SPDX-License-Identifier: Apache-2.0
#include "base/units.hpp"

#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(Units, ParsesWhatPeopleWrite) {
  EXPECT_EQ(*parse_bytes("0"), 0U);
  EXPECT_EQ(*parse_bytes("123"), 123U);
  EXPECT_EQ(*parse_bytes("12GiB"), 12 * GiB);
  EXPECT_EQ(*parse_bytes("1.5 KiB"), 1536U);
  EXPECT_EQ(*parse_bytes("2gb"), 2'000'000'000U);
  EXPECT_EQ(*parse_bytes("7 B"), 7U);
}

TEST(Units, RefusesWhatIsNotASize) {
  for (const char* text : {"", "GiB", "-1", "1 parsec", "1e30", "nan", "12GiBs", "1 k"})
    EXPECT_FALSE(parse_bytes(text)) << text;
}

TEST(Units, FormatsBinaryBytesAndDecimalRates) {
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(1536 * MiB), "1.50 GiB");
  EXPECT_EQ(format_rate(2.5e9), "2.50 GB/s");
  EXPECT_EQ(format_count(26'800'000), "26.8 M");
  EXPECT_EQ(format_seconds(0.0123), "12.3 ms");
  EXPECT_EQ(format_seconds(123), "2 min 3 s");
}

TEST(Units, RoundsToMultiples) {
  EXPECT_EQ(round_up(1, 4096), 4096U);
  EXPECT_EQ(round_up(4096, 4096), 4096U);
  EXPECT_EQ(round_down(8191, 4096), 4096U);
  EXPECT_EQ(ceil_div(10, 4), 3U);
}

}  // namespace
}  // namespace fathom
