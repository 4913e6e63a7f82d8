// SPDX-License-Identifier: Apache-2.0
#include "config/batch.hpp"

#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

constexpr std::nullopt_t none = std::nullopt;

struct BatchRow {
  GivenBatch given;
  std::uint64_t world;
  BatchConfig expected;  // train, micro, accumulation, world
};

TEST(BatchTriple, AnyTwoGiveTheThird) {
  const BatchRow rows[] = {
      {{32, 16, 1}, 2, {32, 16, 1, 2}},    {{32, 8, 2}, 2, {32, 8, 2, 2}},
      {{32, 8, none}, 2, {32, 8, 2, 2}},   {{32, none, 2}, 2, {32, 8, 2, 2}},
      {{none, 8, 2}, 2, {32, 8, 2, 2}},    {{32, none, none}, 2, {32, 16, 1, 2}},
      {{none, 8, none}, 2, {16, 8, 1, 2}}, {{12, 4, none}, 1, {12, 4, 3, 1}},
      {{none, 1, none}, 1, {1, 1, 1, 1}},
  };
  for (const BatchRow& row : rows) {
    const auto batch = complete_batch(row.given, row.world);
    ASSERT_TRUE(batch) << batch.error().message();
    EXPECT_TRUE(*batch == row.expected)
        << batch->train << " " << batch->micro << " " << batch->accumulation;
  }
}

TEST(BatchTriple, AContradictionPrintsTheFourNumbers) {
  const GivenBatch rows[] = {
      {33, 17, 2}, {32, 18, 1}, {32, 5, none}, {3, none, 2}, {1, none, none}};
  for (const GivenBatch& given : rows) EXPECT_FALSE(complete_batch(given, 2));
  const auto batch = complete_batch({33, 17, 2}, 2);
  for (const char* part : {"33", "17", "gradient_accumulation_steps 2", "2 ranks"})
    EXPECT_SAYS(batch.error().message(), part);
}

TEST(BatchTriple, NeedsOneOfTheTwoSizes) {
  for (const GivenBatch& given : {GivenBatch{none, none, 4}, GivenBatch{}}) {
    const auto batch = complete_batch(given, 1);
    ASSERT_FALSE(batch);
    EXPECT_SAYS(batch.error().message(), "train_micro_batch_size_per_gpu is needed");
  }
}

TEST(BatchTriple, ZerosAndOverflowsAreErrors) {
  constexpr std::uint64_t huge = INT64_MAX;
  for (const GivenBatch& given :
       {GivenBatch{0, 1, 1}, GivenBatch{1, 0, none}, GivenBatch{1, none, 0},
        GivenBatch{huge, 3, huge}, GivenBatch{none, huge, huge},
        GivenBatch{none, 1 << 20, std::uint64_t{1} << 44}})
    EXPECT_FALSE(complete_batch(given, 4));
}

TEST(BatchTriple, IsCompletedInTheConfiguration) {
  const Loaded loaded =
      must_load(R"({"train_batch_size": 32, "gradient_accumulation_steps": 2})", {.world_size = 2});
  EXPECT_TRUE((loaded.config.batch == BatchConfig{32, 8, 2, 2}));
  EXPECT_EQ(loaded.resolved["train_micro_batch_size_per_gpu"], 8);
}

TEST(BatchTriple, InferenceNeedsNone) {
  EXPECT_EQ(must_load("{}", {.purpose = Purpose::inference}).config.batch.micro, 1U);
  EXPECT_SAYS(problems_of("{}"), "train_batch_size");
}

}  // namespace
}  // namespace fathom::config
