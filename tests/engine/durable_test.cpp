// SPDX-License-Identifier: Apache-2.0
//
// Training over a durable store: a process that ends anywhere costs at most the step under way and
// the one before it, and the run that goes on ends with the bits of one that was never disturbed.
#include <gtest/gtest.h>

#include "aio/faulty_backend.hpp"
#include "aio/posix_backend.hpp"
#include "engine/durable_state.hpp"
#include "swap/store_reader.hpp"
#include "training_fixture.hpp"

namespace fathom::engine {
namespace {

using namespace testing_runs;

struct Case {
  const char* name;
  double clipping = 0.5;  // 0: eager
  bool tied = false;      // with eager updates the embedding is lazy all the same
  bool fp32 = false;
  enum Memory { smallest, middle, all } memory = smallest;
  std::uint64_t interval = 1;
};

Job job_of(const Case& tested) {
  Job job;
  job.spec = testing_specs::llama_spec(2, 32, 64, tested.tied);
  job.clipping = tested.clipping;
  job.fp32 = tested.fp32;
  job.micro_batch = 1;
  job.accumulation = 2;
  job.length = 8;
  job.steps = 7;
  return job;
}

Where where_of(const Case& tested, const Job& job) {
  Where where;
  if (tested.memory == Case::smallest) where.host_memory = smallest_memory(job);
  if (tested.memory == Case::middle) where.host_memory = smallest_memory(job) + 100 * KiB;
  return where;
}

// Runs steps from what is committed on, and ends without a word after `stop_after` steps in all
// (or finishes).
struct Life {
  explicit Life(std::string where) : directory(std::move(where)) {}

  std::string directory;
  std::vector<std::string> jobs = {};  // of the store, once it is there
  std::vector<double> losses = {};     // by step

  Result<void> live(const Job& job, Where where, std::uint64_t interval, std::int64_t stop_after,
                    swap::FileCalls& calls = swap::FileCalls::real()) {
    where.durable = [&](const Plan& plan) -> Result<swap::DurableFiles> {
      if (!jobs.empty()) return swap::DurableFiles::open(jobs, swap::Access::run, calls);
      FATHOM_ASSIGN(auto files, swap::DurableFiles::create(durable_layout(plan),
                                                           {.parents = {directory},
                                                            .description = describe_store(plan, {}),
                                                            .output = {},
                                                            .calls = &calls}));
      made_ = files.directories();
      return files;
    };
    TrainingRun run(job, where, directory);
    if (run.error()) return fail(*run.error());
    struct AtTheEnd {
      const std::function<void()>& call;
      ~AtTheEnd() {
        if (call) call();
      }
    } const at_the_end{ending};
    const swap::Store& store = *run.residence().store();
    Progress progress{.seed = job.seed};
    DurableState durable(run.residence(), interval, 0);
    if (const swap::CommitState* committed = store.committed()) {
      progress.step = committed->step;
      progress.updates = committed->updates;
    } else {
      FATHOM_CHECK(durable.commit(progress));
    }
    if (!made_.empty()) jobs = made_;
    run.executor().set_updates(progress.updates);
    const auto last = static_cast<std::int64_t>(job.steps);
    losses.resize(job.steps);
    while (progress.step < last) {
      if (progress.step == stop_after) return {};
      const std::int64_t step = progress.step + 1;
      StepControls controls;
      if (durable.due()) controls.settled = [&] { return durable.commit_last(); };
      FATHOM_ASSIGN(const StepResult result,
                    run.executor().step(batches_of(job, static_cast<std::uint64_t>(step - 1)),
                                        job.hyper.lr, step < last, controls));
      losses[static_cast<std::size_t>(step - 1)] = result.loss;
      progress.step = step;
      progress.updates = run.executor().updates();
      durable.finished(progress);
    }
    FATHOM_CHECK(run.executor().flush());
    FATHOM_CHECK(durable.commit_last());
    FATHOM_ASSIGN(units, run.read_units());
    return {};
  }

  Result<std::int64_t> committed() const {
    FATHOM_ASSIGN(const auto reader, swap::StoreReader::open(jobs, swap::Access::read));
    return reader.record().state.step;
  }

  std::vector<std::vector<std::byte>> units = {};
  std::function<void()> ending = {};  // called while the store is still open

 private:
  std::vector<std::string> made_;
};

class Durable : public ::testing::TestWithParam<Case> {};

TEST_P(Durable, ARunThatEndsAfterAnyStepGoesOnToTheSameBits) {
  const Job job = job_of(GetParam());
  const Where where = where_of(GetParam(), job);
  const Outcome wanted = outcome_of(job, where);
  const auto interval = static_cast<std::int64_t>(GetParam().interval);
  for (std::int64_t stop = 1; stop <= static_cast<std::int64_t>(job.steps); ++stop) {
    const ScratchDirectory directory;
    Life life(directory.path());
    const Result<void> first = life.live(job, where, GetParam().interval, stop);
    ASSERT_TRUE(first) << first.error().message();
    const auto committed = life.committed();
    ASSERT_TRUE(committed) << committed.error().message();
    if (stop < static_cast<std::int64_t>(job.steps)) {
      // Step `stop` is computed; what its forward has settled is the step before.
      EXPECT_EQ(*committed, (stop - 1) / interval * interval);
      const Result<void> second = life.live(job, where, GetParam().interval, -1);
      ASSERT_TRUE(second) << second.error().message();
    }
    EXPECT_EQ(*life.committed(), static_cast<std::int64_t>(job.steps));
    EXPECT_EQ(life.losses, wanted.losses) << "stopped after step " << stop;
    EXPECT_TRUE(life.units == wanted.units) << "stopped after step " << stop;
  }
}

// What is committed is the state after that step, not something that only leads to the same end.
TEST_P(Durable, TheCommittedBytesAreThoseOfTheStep) {
  const Job job = job_of(GetParam());
  const Where where = where_of(GetParam(), job);
  const ScratchDirectory directory;
  Life life(directory.path());
  ASSERT_TRUE(life.live(job, where, GetParam().interval, 5));
  const auto reader = swap::StoreReader::open(life.jobs, swap::Access::read);
  ASSERT_TRUE(reader) << reader.error().message();
  Job shorter = job;
  shorter.steps = static_cast<std::uint64_t>(reader->record().state.step);
  ASSERT_GT(shorter.steps, 0U);
  const Outcome wanted = outcome_of(shorter, where);
  std::vector<std::vector<std::byte>> units(reader->layout().units());
  for (const swap::Section section : swap::all_sections)
    for (swap::ChunkId c = 0; c < reader->layout().chunks().size(); ++c) {
      if (reader->layout().sections().of(section) == 0) continue;
      const auto bytes = reader->read(c, section);
      ASSERT_TRUE(bytes) << bytes.error().message();
      auto& unit = units[reader->layout().chunk(c).unit];
      unit.insert(
          unit.end(), bytes->begin(),
          bytes->begin() + static_cast<std::ptrdiff_t>(reader->layout().payload_bytes(c, section)));
    }
  EXPECT_TRUE(units == wanted.units);
}

INSTANTIATE_TEST_SUITE_P(
    Training, Durable,
    ::testing::Values(Case{.name = "Lazy"}, Case{.name = "LazyWithPinned", .memory = Case::middle},
                      Case{.name = "LazyAllPinned", .memory = Case::all},
                      Case{.name = "LazyEveryThird", .memory = Case::middle, .interval = 3},
                      Case{.name = "Eager", .clipping = 0},
                      Case{.name = "EagerWithPinned", .clipping = 0, .memory = Case::middle},
                      Case{.name = "EagerTied", .clipping = 0, .tied = true},
                      Case{.name = "LazyTiedFp32", .tied = true, .fp32 = true}),
    [](const auto& tested) { return tested.param.name; });

// --- every operation fails once, and from then on for ever ---------------------------------------

class DurableFault : public ::testing::TestWithParam<std::tuple<bool, bool>> {};

TEST_P(DurableFault, EndsInATypedErrorOrTheRightBytesAndCanBeResumed) {
  const auto [for_ever, resuming] = GetParam();
  Case tested{.name = "", .memory = Case::middle};
  Job job = job_of(tested);
  job.steps = 3;
  const Where healthy = where_of(tested, job);
  const Outcome wanted = outcome_of(job, healthy);
  std::uint64_t n = 1, errors = 0;
  for (;; ++n) {
    const ScratchDirectory directory;
    Life life(directory.path());
    if (resuming) {
      ASSERT_TRUE(life.live(job, healthy, 1, 2));
    }
    Where where = healthy;
    const aio::FaultyBackend* faulty = nullptr;
    bool struck = true;  // when the run does not even begin
    life.ending = [&] { struck = faulty->struck() != 0; };
    where.queues = [&](const aio::QueueOptions& options) {
      auto backend = std::make_unique<aio::FaultyBackend>(
          aio::make_posix_backend(4),
          std::vector<aio::FaultRule>{
              {.fault = aio::Fault::device_error, .at = n, .for_ever = for_ever}});
      faulty = backend.get();
      std::vector<std::unique_ptr<aio::Queue>> queues;
      queues.push_back(aio::Queue::over(std::move(backend), options));
      return queues;
    };
    const Result<void> done = life.live(job, where, 1, -1);
    if (done) {
      EXPECT_TRUE(life.units == wanted.units) << n;
      if (!struck) break;
      continue;
    }
    life.ending = {};
    ++errors;
    EXPECT_EQ(done.error().code(), Errc::io) << done.error().message();
    EXPECT_NE(done.error().message().find(directory.path()), std::string::npos)
        << done.error().message();
    // The next process starts where the store is, or from the beginning.
    const Result<void> resumed = life.live(job, healthy, 1, -1);
    ASSERT_TRUE(resumed) << n << ": " << resumed.error().message();
    EXPECT_TRUE(life.units == wanted.units) << n;
  }
  EXPECT_GT(errors, 10U) << "faults that nothing noticed";
}

INSTANTIATE_TEST_SUITE_P(Training, DurableFault,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool()),
                         [](const auto& tested) {
                           return std::string(std::get<0>(tested.param) ? "ForEver" : "Once") +
                                  (std::get<1>(tested.param) ? "WhileResuming" : "WhileTraining");
                         });

}  // namespace
}  // namespace fathom::engine
