// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.hpp"

#include <cmath>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "engine/stop_strings.hpp"

namespace fathom::engine {
namespace {

using Ids = std::vector<std::int64_t>;

// Probabilities 0.4, 0.3, 0.2, 0.1 for tokens 2, 0, 3, 1.
const std::vector<float> logits = {std::log(3.0F), std::log(1.0F), std::log(4.0F), std::log(2.0F)};

std::set<std::int64_t> drawn(const Sampling& sampling, const Ids& seen = {}) {
  std::set<std::int64_t> ids;
  for (std::uint64_t position = 0; position < 400; ++position)
    ids.insert(sample(logits, sampling, seen, 1, 0, position));
  return ids;
}

TEST(Sampler, WithoutTemperatureTakesTheFirstOfTheLargest) {
  EXPECT_EQ(sample(logits, {}, {}, 0, 0, 0), 2);
  EXPECT_EQ(sample(std::vector<float>{1, 5, 5, 2}, {}, {}, 0, 0, 0), 1);
}

TEST(Sampler, ThePenaltyLowersSeenTokensOnceWhateverTheirSign) {
  const std::vector<float> row = {4, 3, -1, -2};
  EXPECT_EQ(sample(row, {.repetition_penalty = 2}, Ids{0, 0, 0}, 0, 0, 0), 1) << "4 / 2 < 3";
  EXPECT_EQ(sample(row, {.repetition_penalty = 1.3}, Ids{0, 0, 0}, 0, 0, 0), 0)
      << "seen three times, penalised once: 4 / 1.3 > 3";
  const std::vector<float> negative = {-1, -1.5F};
  EXPECT_EQ(sample(negative, {.repetition_penalty = 2}, Ids{0}, 0, 0, 0), 1) << "-1 * 2 < -1.5";
  EXPECT_EQ(sample(row, {.repetition_penalty = 2}, Ids{7, -1}, 0, 0, 0), 0)
      << "ids without a logit";
}

TEST(Sampler, DrawsInProportionToTheProbabilities) {
  std::map<std::int64_t, int> counts;
  constexpr int draws = 20'000;
  for (int i = 0; i < draws; ++i)
    ++counts[sample(logits, {.temperature = 1}, {}, 7, 3, static_cast<std::uint64_t>(i))];
  // Five standard deviations of a binomial count are below 0.018.
  EXPECT_NEAR(counts[2] / double{draws}, 0.4, 0.018);
  EXPECT_NEAR(counts[0] / double{draws}, 0.3, 0.018);
  EXPECT_NEAR(counts[3] / double{draws}, 0.2, 0.018);
  EXPECT_NEAR(counts[1] / double{draws}, 0.1, 0.018);
  counts.clear();
  for (int i = 0; i < draws; ++i)
    ++counts[sample(logits, {.temperature = 0.5}, {}, 7, 3, static_cast<std::uint64_t>(i))];
  EXPECT_NEAR(counts[2] / double{draws}, 16.0 / 30, 0.018) << "squares: 16, 9, 4, 1";
}

TEST(Sampler, TopKKeepsTheLargestAndTheirEquals) {
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 2}), (std::set<std::int64_t>{0, 2}));
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 9}), (std::set<std::int64_t>{0, 1, 2, 3}));
  std::set<std::int64_t> ids;
  for (std::uint64_t i = 0; i < 200; ++i)
    ids.insert(sample(std::vector<float>{1, 3, 1, 0}, {.temperature = 1, .top_k = 2}, {}, 1, 0, i));
  EXPECT_EQ(ids, (std::set<std::int64_t>{0, 1, 2})) << "0 and 2 share the second place";
}

TEST(Sampler, TopPKeepsTheFewestWithThatProbability) {
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.39}), (std::set<std::int64_t>{2}));
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.41}), (std::set<std::int64_t>{0, 2}));
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.71}), (std::set<std::int64_t>{0, 2, 3}));
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0}), (std::set<std::int64_t>{2})) << "never nothing";
}

TEST(Sampler, TopPCountsWhatTopKLeft) {
  // Of tokens 2 and 0 alone, 2 has 4/7 = 0.571.
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 2, .top_p = 0.56}), (std::set<std::int64_t>{2}));
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 2, .top_p = 0.58}), (std::set<std::int64_t>{0, 2}));
}

TEST(Sampler, MinPIsRelativeToTheMostLikelyAfterTemperature) {
  EXPECT_EQ(drawn({.temperature = 1, .min_p = 0.45}), (std::set<std::int64_t>{0, 2, 3}));
  EXPECT_EQ(drawn({.temperature = 1, .min_p = 0.55}), (std::set<std::int64_t>{0, 2}));
  EXPECT_EQ(drawn({.temperature = 0.5, .min_p = 0.55}), (std::set<std::int64_t>{0, 2})) << "9/16";
  EXPECT_EQ(drawn({.temperature = 0.5, .min_p = 0.57}), (std::set<std::int64_t>{2}));
}

TEST(Sampler, DependsOnSeedPromptAndPositionAndNothingElse) {
  const auto text = [](std::uint64_t seed, std::uint64_t key) {
    Ids ids;
    for (std::uint64_t i = 0; i < 40; ++i)
      ids.push_back(sample(logits, {.temperature = 1}, {}, seed, key, i));
    return ids;
  };
  const std::uint64_t key = prompt_key(Ids{1, 2, 3}, 0);
  EXPECT_EQ(text(5, key), text(5, prompt_key(Ids{1, 2, 3}, 0)));
  EXPECT_NE(text(5, key), text(6, key));
  EXPECT_NE(text(5, key), text(5, prompt_key(Ids{1, 2, 4}, 0)));
  EXPECT_NE(text(5, key), text(5, prompt_key(Ids{1, 2, 3}, 1))) << "the same prompt once more";
}

// Shows the text part by part, with a mark where generation would end.
std::string shown(const std::vector<std::string>& stops, const std::vector<std::string>& parts) {
  StopStrings stop(stops);
  std::string all;
  for (const std::string& part : parts) {
    all += stop.push(part);
    if (stop.found()) return all + "|";
  }
  return all + stop.finish();
}

TEST(StopStrings, EndTheTextInFrontOfTheFirst) {
  EXPECT_EQ(shown({"end"}, {"the end is", " near"}), "the |");
  EXPECT_EQ(shown({"end"}, {"the e", "n", "d"}), "the |") << "in three parts";
  EXPECT_EQ(shown({"end"}, {"the e", "n", "t"}), "the ent");
  EXPECT_EQ(shown({"end"}, {"the en"}), "the en") << "what is held back comes at the end";
  EXPECT_EQ(shown({"bcd", "c"}, {"abcd"}), "ab|") << "the one that ends first";
  EXPECT_EQ(shown({"aab"}, {"a", "a", "a", "b"}), "a|") << "its beginning overlaps itself";
  EXPECT_EQ(shown({}, {"a", "b"}), "ab");
  EXPECT_EQ(shown({""}, {"a", "b"}), "ab") << "an empty one stops nothing";
}

TEST(StopStrings, HoldBackNoMoreThanCouldBecomeOne) {
  StopStrings stop({"\n\nUser:"});
  EXPECT_EQ(stop.push("a\n"), "a");
  EXPECT_EQ(stop.push("b"), "\nb");
  EXPECT_EQ(stop.push("\n\nUse"), "");
  EXPECT_EQ(stop.push("ful"), "\n\nUseful");
  EXPECT_FALSE(stop.found());
}

}  // namespace
}  // namespace fathom::engine
