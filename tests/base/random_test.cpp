// SPDX-License-Identifier: Apache-2.0
#include "base/random.hpp"

#include <cmath>

#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(CounterRandom, ElementDependsOnSeedNameAndIndexOnly) {
  const CounterRandom a(1, "x"), again(1, "x"), other_seed(2, "x"), other_name(1, "y");
  EXPECT_EQ(a.bits(12345), again.bits(12345));
  EXPECT_NE(a.bits(12345), other_seed.bits(12345));
  EXPECT_NE(a.bits(12345), other_name.bits(12345));
  EXPECT_NE(a.bits(12345), a.bits(12346));
}

TEST(CounterRandom, NormalHasMeanZeroAndVarianceOne) {
  const CounterRandom stream(7, "weights");
  constexpr int count = 200'000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < count; ++i) {
    const double value = stream.normal(static_cast<std::uint64_t>(i));
    sum += value;
    squares += value * value;
    fourth += value * value * value * value;
  }
  EXPECT_NEAR(sum / count, 0, 0.01);
  EXPECT_NEAR(squares / count, 1, 0.02);
  EXPECT_NEAR(fourth / count, 3, 0.1);  // kurtosis of a normal
}

TEST(CounterRandom, UniformStaysInHalfOpenRange) {
  const CounterRandom stream(3, "u");
  double low = 1, high = 0;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    low = std::fmin(low, stream.uniform(i));
    high = std::fmax(high, stream.uniform(i));
  }
  EXPECT_GE(low, 0);
  EXPECT_LT(low, 0.001);
  EXPECT_LT(high, 1);
  EXPECT_GT(high, 0.999);
}

TEST(CounterRandom, HashOfNamesIsFnv1a) {
  EXPECT_EQ(name_hash(""), 0xcbf29ce484222325ULL);
  EXPECT_EQ(name_hash("a"), 0xaf63dc4c8601ec8cULL);
}

}  // namespace
}  // namespace fathom
