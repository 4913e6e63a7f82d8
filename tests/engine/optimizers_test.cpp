// SPDX-License-Identifier: Apache-2.0
//
// Every optimizer and precision: the plain way's bits wherever the state lives, the bytes that its
// sections have, and what overflow does.
#include <bit>
#include <limits>

#include <gtest/gtest.h>

#include "engine/weight_check.hpp"
#include "reference.hpp"
#include "training_fixture.hpp"

namespace fathom::engine {
namespace {

using namespace testing_runs;
using config::OptimizerConfig;
using config::OptimizerType;

struct Case {
  const char* name;
  OptimizerConfig optimizer;
  std::uint64_t state_bytes;  // of m and v together, an element
};

const Case cases[] = {
    {"AdamW", {.type = OptimizerType::adamw, .lr = 3e-3, .weight_decay = 0.1}, 8},
    {"AdamL2",
     {.type = OptimizerType::adam, .lr = 3e-3, .weight_decay = 0.1, .decoupled = false},
     8},
    {"Lion", {.type = OptimizerType::lion, .lr = 1e-3, .beta2 = 0.99, .weight_decay = 0.1}, 4},
    {"Adagrad", {.type = OptimizerType::adagrad, .lr = 1e-2, .eps = 1e-10}, 4},
    {"Sgd", {.type = OptimizerType::sgd, .lr = 0.5}, 0},
    {"SgdMomentum", {.type = OptimizerType::sgd, .lr = 0.1, .momentum = 0.9, .dampening = 0.1}, 4},
    {"SgdNesterov", {.type = OptimizerType::sgd, .lr = 0.1, .momentum = 0.9, .nesterov = true}, 4},
    {"Lamb", {.type = OptimizerType::lamb, .lr = 1e-2, .eps = 1e-6, .weight_decay = 0.1}, 8},
};

enum class Kind { bf16, fp32, fp16 };

Job job_of(const OptimizerConfig& optimizer, Kind kind, double clipping) {
  Job job;
  job.spec = testing_specs::llama_spec(2, 32, 64, true);
  job.optimizer = optimizer;
  job.hyper.lr = optimizer.lr;
  job.clipping = clipping;
  job.fp32 = kind == Kind::fp32;
  job.fp16 = kind == Kind::fp16;
  job.widen = kind == Kind::bf16;
  if (job.fp16) job.loss_scale = 1024;
  return job;
}

void expect_same(const Outcome& got, const Outcome& wanted, const char* where) {
  EXPECT_EQ(got.losses, wanted.losses) << where;
  EXPECT_EQ(got.norms, wanted.norms) << where;
  ASSERT_EQ(got.units.size(), wanted.units.size()) << where;
  for (std::size_t u = 0; u < got.units.size(); ++u)
    EXPECT_TRUE(got.units[u] == wanted.units[u]) << where << ", unit " << u;
}

class EveryOptimizer : public ::testing::TestWithParam<Case> {};

TEST_P(EveryOptimizer, HasThePlainWaysBitsWhereverTheStateLives) {
  for (const Kind kind : {Kind::bf16, Kind::fp32, Kind::fp16})
    for (const double clipping : {0.5, 0.0}) {
      const Job job = job_of(GetParam().optimizer, kind, clipping);
      const Outcome wanted = reference_training(job);
      EXPECT_LT(wanted.losses.back(), wanted.losses.front()) << "it learns";
      expect_same(outcome_of(job, {}), wanted, "all in host memory");
      Where small{.chunk_elements = 4096};
      expect_same(outcome_of(job, small), wanted, "in small chunks");
      small.host_memory = smallest_memory(job, small);
      expect_same(outcome_of(job, small), wanted, "as little memory as there can be");
    }
}

TEST_P(EveryOptimizer, MovesAndKeepsTheBytesOfItsSections) {
  for (const Kind kind : {Kind::bf16, Kind::fp32, Kind::fp16}) {
    const Job job = job_of(GetParam().optimizer, kind, 0.5);
    const std::uint64_t weights = kind == Kind::bf16 ? 4 : kind == Kind::fp32 ? 4 : 6;
    const Outcome outcome = outcome_of(job, {});
    std::uint64_t elements = 0, bytes = 0;
    for (std::size_t u = 0; u < outcome.units.size(); ++u) {
      elements += flatten(job.spec.units[u], 1).elements;
      bytes += outcome.units[u].size();
    }
    EXPECT_EQ(bytes, elements * (weights + GetParam().state_bytes));
  }
}

INSTANTIATE_TEST_SUITE_P(Training, EveryOptimizer, ::testing::ValuesIn(cases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Fp16, ALossScaleOfAPowerOfTwoChangesOnlyWhatFp16Rounds) {
  // Gradients rest in fp16: scaled ones keep bits that unscaled ones lose as subnormals.
  Job job = job_of({.lr = 3e-3}, Kind::fp16, 0.5);
  const Outcome scaled = outcome_of(job, {});
  job.loss_scale = 1;
  const Outcome plain = outcome_of(job, {});
  EXPECT_EQ(scaled.losses.front(), plain.losses.front());
  EXPECT_NEAR(scaled.norms.front(), plain.norms.front(), 1e-6 * plain.norms.front());
  EXPECT_NEAR(scaled.losses.back(), plain.losses.back(), 1e-2);
}

TEST(Fp16, AnOverflowLeavesTheWholeUpdateOutAndTheNextStepGoesOn) {
  const Job job = job_of({.lr = 3e-3}, Kind::fp16, 0.0);
  const ScratchDirectory directory;
  TrainingRun run(job, {.host_memory = smallest_memory(job)}, directory.path());
  ASSERT_FALSE(run.error());
  const auto before = run.read_units();
  const auto overflowed =
      run.executor().step(batches_of(job, 0), job.hyper.lr, false, {.loss_scale = 1e9});
  ASSERT_TRUE(overflowed) << overflowed.error().message();
  EXPECT_TRUE(overflowed->skipped);
  EXPECT_FALSE(overflowed->non_finite.empty());
  EXPECT_EQ(run.executor().updates(), 0);
  ASSERT_TRUE(run.executor().flush());
  EXPECT_TRUE(*run.read_units() == *before) << "nothing was updated";

  const auto fine =
      run.executor().step(batches_of(job, 0), job.hyper.lr, false, {.loss_scale = 1024});
  ASSERT_TRUE(fine) << fine.error().message();
  EXPECT_FALSE(fine->skipped);
  EXPECT_EQ(fine->loss, overflowed->loss) << "the same weights";
  EXPECT_EQ(run.executor().updates(), 1);
  ASSERT_TRUE(run.executor().flush());
  EXPECT_FALSE(*run.read_units() == *before);
}

TEST(WeightCheck, NamesTheFirstWeightThatIsNoNumberWhateverTheMaster) {
  for (const Kind kind : {Kind::bf16, Kind::fp32, Kind::fp16}) {
    const Job job = job_of({.lr = 3e-3}, kind, 0.5);
    for (const std::uint32_t bits : {0x7fffffffU, 0x7f800000U}) {  // the first rounds to a zero W
      const ScratchDirectory directory;
      const ParameterSource poisoned = [&](const models::ParameterSpec& parameter,
                                           std::uint64_t first,
                                           std::span<float> out) -> Result<void> {
        FATHOM_CHECK(random_source(job.seed)(parameter, first, out));
        if (parameter.name == "model.norm.weight") out[3] = std::bit_cast<float>(bits);
        return {};
      };
      TrainingRun clean(job, {}, directory.path());
      ASSERT_FALSE(clean.error());
      const auto none = first_non_finite_weight(clean.residence(), clean.pool());
      ASSERT_TRUE(none) << none.error().message();
      EXPECT_FALSE(none->has_value());
      TrainingRun run(job, {.host_memory = smallest_memory(job)}, directory.path(), poisoned);
      ASSERT_FALSE(run.error());
      const auto found = first_non_finite_weight(run.residence(), run.pool());
      ASSERT_TRUE(found) << found.error().message();
      ASSERT_TRUE(found->has_value());
      EXPECT_NE((*found)->find("model.norm.weight[3]"), std::string::npos) << **found;
    }
  }
}

TEST(NonFinite, IsAppliedAllTheSameWhenTheCheckIsOff) {
  const Job job = job_of({.lr = 3e-3}, Kind::bf16, 0.5);
  const ScratchDirectory directory;
  const ParameterSource poisoned = [&](const models::ParameterSpec& parameter, std::uint64_t first,
                                       std::span<float> out) -> Result<void> {
    FATHOM_CHECK(random_source(job.seed)(parameter, first, out));
    if (parameter.name == "model.norm.weight") out[0] = std::numeric_limits<float>::infinity();
    return {};
  };
  TrainingRun run(job, {}, directory.path(), poisoned);
  ASSERT_FALSE(run.error());
  const auto model = models::make_model(job.spec);
  ASSERT_TRUE(model);
  TrainingExecutor unchecked(
      run.plan(), run.residence(), *model, run.pool(),
      {.hyper = job.rule(), .clipping = job.clipping, .skip_non_finite = false}, nullptr);
  const auto result = unchecked.step(batches_of(job, 0), job.hyper.lr, false);
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_FALSE(result->skipped);
  EXPECT_FALSE(result->non_finite.empty());
  EXPECT_EQ(unchecked.updates(), 1);
}

TEST(Betas, OfASchedulerReachTheUpdate) {
  const Job job = job_of({.lr = 3e-3}, Kind::fp32, 0.5);
  const auto units_with = [&](std::optional<config::Betas> betas) {
    const ScratchDirectory directory;
    TrainingRun run(job, {}, directory.path());
    EXPECT_FALSE(run.error());
    EXPECT_TRUE(run.executor().step(batches_of(job, 0), job.hyper.lr, true, {.betas = betas}));
    EXPECT_TRUE(run.executor().step(batches_of(job, 1), job.hyper.lr, false, {.betas = betas}));
    EXPECT_TRUE(run.executor().flush());
    return *run.read_units();
  };
  EXPECT_TRUE(units_with(std::nullopt) == units_with(config::Betas{0.9, 0.999}));
  EXPECT_FALSE(units_with(std::nullopt) == units_with(config::Betas{0.8, 0.999}));
}

}  // namespace
}  // namespace fathom::engine
