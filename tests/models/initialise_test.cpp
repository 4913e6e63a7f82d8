// SPDX-License-Identifier: Apache-2.0
#include "models/initialise.hpp"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace fathom::models {
namespace {

const ParameterSpec weight{"model.layers.0.mlp.up_proj.weight", {100, 50}, Init::normal, 0.02};

TEST(Initialise, AnySliceEqualsThatPartOfTheWhole) {
  std::vector<float> whole(5000), slice(5000);
  fill(weight, 7, 0, whole);
  for (std::size_t begin = 0; begin < whole.size();) {
    const std::size_t count = std::min<std::size_t>(begin % 97 + 1, whole.size() - begin);
    fill(weight, 7, begin, std::span(slice).subspan(begin, count));
    begin += count;
  }
  EXPECT_EQ(whole, slice);
}

TEST(Initialise, NormalsHaveTheAskedSpreadAndDependOnSeedAndName) {
  std::vector<float> a(5000), b(5000), c(5000);
  fill(weight, 7, 0, a);
  fill(weight, 8, 0, b);
  ParameterSpec other = weight;
  other.name += "x";
  fill(other, 7, 0, c);
  EXPECT_NE(a, b);
  EXPECT_NE(a, c);
  double sum = 0, squares = 0;
  for (const float value : a) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  EXPECT_NEAR(sum / 5000, 0, 0.02 * 4 / std::sqrt(5000.0));
  EXPECT_NEAR(std::sqrt(squares / 5000), 0.02, 0.001);
}

TEST(Initialise, NormsAreOnesAndBiasesZeros) {
  std::vector<float> values(3, 9.0F);
  fill({"n", {3}, Init::ones, 0}, 1, 0, values);
  EXPECT_EQ(values, (std::vector<float>{1, 1, 1}));
  fill({"b", {3}, Init::zeros, 0}, 1, 0, values);
  EXPECT_EQ(values, (std::vector<float>{0, 0, 0}));
}

}  // namespace
}  // namespace fathom::models
