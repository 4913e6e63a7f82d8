// SPDX-License-Identifier: Apache-2.0
//
// The same bits wherever the state lives, however it is moved, and as the plain way gives them.
#include <gtest/gtest.h>

#include "aio/engines.hpp"
#include "reference.hpp"
#include "training_fixture.hpp"

namespace fathom::engine {
namespace {

using namespace testing_runs;

struct Case {
  const char* name;
  Job job;
};

std::vector<Case> all_cases() {
  const auto tied = testing_specs::llama_spec(3, 64, 96, true);
  std::vector<Case> cases;
  for (const bool clip : {true, false})
    for (const bool is_tied : {true, false})
      for (const int precision : {0, 1, 2}) {
        Job job;
        if (is_tied) job.spec = tied;
        job.clipping = clip ? 0.5 : 0;
        job.fp32 = precision == 1;
        job.widen = precision == 2;
        static const char* names[2][2][3] = {
            {{"eager", "eager_fp32", "eager_widened"},
             {"eager_tied", "eager_tied_fp32", "eager_tied_widened"}},
            {{"lazy", "lazy_fp32", "lazy_widened"},
             {"lazy_tied", "lazy_tied_fp32", "lazy_tied_widened"}}};
        cases.push_back({names[clip][is_tied][precision], job});
      }
  return cases;
}

class SameBits : public ::testing::TestWithParam<Case> {};

void expect_same(const Outcome& got, const Outcome& wanted, const char* where) {
  EXPECT_EQ(got.losses, wanted.losses) << where;
  EXPECT_EQ(got.norms, wanted.norms) << where;
  ASSERT_EQ(got.units.size(), wanted.units.size()) << where;
  for (std::size_t u = 0; u < got.units.size(); ++u)
    EXPECT_TRUE(got.units[u] == wanted.units[u]) << where << ", unit " << u;
}

TEST_P(SameBits, WhereverTheStateLivesAndAsThePlainWayGivesThem) {
  const Job& job = GetParam().job;
  const Outcome wanted = reference_training(job);
  EXPECT_LT(wanted.losses.back(), wanted.losses.front()) << "it learns";
  const std::uint64_t least = smallest_memory(job), all = 3 * least;
  expect_same(outcome_of(job, {}), wanted, "all in host memory");
  const Outcome on_disk = outcome_of(job, {.host_memory = least});
  expect_same(on_disk, wanted, "as much as possible on disk");
  EXPECT_GT(on_disk.counters.total_read(), 0U);
  expect_same(outcome_of(job, {.host_memory = least + (all - least) / 8}), wanted, "some of each");
}

TEST_P(SameBits, HoweverItIsMoved) {
  const Job& job = GetParam().job;
  const std::uint64_t least = smallest_memory(job);
  const Outcome wanted = outcome_of(job, {.host_memory = least});
  for (const std::uint32_t slots : {2U, 3U, 8U})
    for (const std::uint64_t chunk : {4096U * 4, 4096U * 16}) {
      Where where{.slots = slots, .chunk_elements = chunk};
      where.host_memory = smallest_memory(job, where);
      expect_same(outcome_of(job, where), wanted, "slots and chunks");
    }
  const ScratchDirectory directory;
  for (const aio::EngineProbe& probe : aio::probe_engines(directory.path()))
    if (probe.works)
      expect_same(outcome_of(job, {.host_memory = least, .engine = probe.engine}), wanted,
                  to_string(probe.engine));
  expect_same(outcome_of(job, {.host_memory = least, .flush_after = 2}), wanted,
              "flushed in the middle");
}

TEST_P(SameBits, WhetherItIsEvaluatedInBetweenWithTheLossThatTheStepThenHas) {
  const Job& job = GetParam().job;
  const Where where{.host_memory = smallest_memory(job), .evaluate = true};
  const Outcome wanted = outcome_of(job, {.host_memory = where.host_memory});
  const Outcome got = outcome_of(job, where);
  expect_same(got, wanted, "evaluated");
  ASSERT_EQ(got.evaluated.size(), job.steps - 1);
  for (std::size_t i = 0; i < got.evaluated.size(); ++i)
    EXPECT_EQ(got.evaluated[i], wanted.losses[i + 1]) << i;
}

TEST_P(SameBits, MovesTheBytesThatWerePlanned) {
  const Job& job = GetParam().job;
  const Outcome outcome = outcome_of(job, {.host_memory = smallest_memory(job)});
  std::uint64_t read = 0, written = 0;
  for (const StepResult& step : outcome.steps) {
    EXPECT_EQ(step.bytes.nvme_read, step.planned.nvme_read);
    EXPECT_EQ(step.bytes.nvme_write, step.planned.nvme_write);
    read += step.bytes.nvme_read;
    written += step.bytes.nvme_write;
  }
  // The store counted, besides the steps: initialisation writes everything once, a lazy last step
  // is flushed. What it counted is never less than what the steps moved.
  EXPECT_GE(outcome.counters.total_read(), read);
  EXPECT_GE(outcome.counters.total_written(), written);
}

TEST_P(SameBits, AccumulatingFourTimesEqualsTheSameMicroBatchesOneAfterTheOther) {
  Job job = GetParam().job;
  job.accumulation = 4;
  job.micro_batch = 1;
  job.steps = 3;
  expect_same(outcome_of(job, {.host_memory = smallest_memory(job)}), reference_training(job),
              "1 x 4");
}

INSTANTIATE_TEST_SUITE_P(Training, SameBits, ::testing::ValuesIn(all_cases()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Training, CountsEveryByteOfTheStore) {
  Job job;
  job.steps = 5;
  const ScratchDirectory directory;
  const Where where{.host_memory = smallest_memory(job)};
  TrainingRun run(job, where, directory.path());
  ASSERT_FALSE(run.error());
  const auto counted = [&] { return run.residence().store()->counters(); };
  const auto payload = [](const std::array<std::uint64_t, swap::section_count>& sections) {
    std::uint64_t sum = 0;
    for (const std::uint64_t bytes : sections) sum += bytes;
    return sum;
  };
  // One step at a time, nothing read ahead: what a step moves is what the store counts in it.
  for (std::uint64_t step = 0; step < job.steps; ++step) {
    run.residence().store()->drain();
    const auto before = counted();
    const auto result = run.executor().step(batches_of(job, step), job.hyper.lr, false);
    ASSERT_TRUE(result) << result.error().message();
    run.residence().store()->drain();
    const auto after = counted();
    EXPECT_EQ(payload(after.read) - payload(before.read), result->planned.nvme_read) << step;
    EXPECT_EQ(payload(after.written) - payload(before.written), result->planned.nvme_write) << step;
  }
}

TEST(Training, AStepWhoseLossIsNotFiniteIsSkippedWhole) {
  for (const double clipping : {0.5, 0.0}) {
    Job job;
    job.clipping = clipping;
    const ScratchDirectory directory;
    const ParameterSource poisoned = [&](const models::ParameterSpec& parameter,
                                         std::uint64_t first,
                                         std::span<float> out) -> Result<void> {
      FATHOM_CHECK(random_source(job.seed)(parameter, first, out));
      if (parameter.name == "model.norm.weight") out[0] = std::numeric_limits<float>::infinity();
      return {};
    };
    TrainingRun run(job, {.host_memory = smallest_memory(job)}, directory.path(), poisoned);
    ASSERT_FALSE(run.error());
    const auto before = run.read_units();
    const auto result = run.executor().step(batches_of(job, 0), job.hyper.lr, false);
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_TRUE(result->skipped);
    ASSERT_TRUE(run.executor().flush());
    EXPECT_EQ(run.executor().updates(), 0);
    EXPECT_TRUE(*run.read_units() == *before) << "nothing was updated, clipping " << clipping;
  }
}

}  // namespace
}  // namespace fathom::engine
