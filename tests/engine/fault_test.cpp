// SPDX-License-Identifier: Apache-2.0
//
// A disk that fails in the middle of training: a typed Error that names the place, no hang, no
// wrong bits.
#include <gtest/gtest.h>

#include "aio/faulty_backend.hpp"
#include "aio/posix_backend.hpp"
#include "training_fixture.hpp"

namespace fathom::engine {
namespace {

using namespace testing_runs;

Job small_job(bool lazy) {
  Job job;
  job.spec = testing_specs::llama_spec(2, 32, 64, false);
  job.clipping = lazy ? 0.5 : 0;
  job.micro_batch = 1;
  job.accumulation = 1;
  job.length = 8;
  job.steps = 3;
  return job;
}

struct Attempt {
  std::optional<Error> error;
  Outcome outcome;
  bool struck = false;
};

Attempt attempt(const Job& job, std::uint64_t memory, const aio::FaultRule& rule) {
  const ScratchDirectory directory;
  const aio::FaultyBackend* faulty = nullptr;
  Where where{.host_memory = memory};
  where.queues = [&](const aio::QueueOptions& options) {
    auto backend = std::make_unique<aio::FaultyBackend>(aio::make_posix_backend(4),
                                                        std::vector<aio::FaultRule>{rule});
    faulty = backend.get();
    std::vector<std::unique_ptr<aio::Queue>> queues;
    queues.push_back(aio::Queue::over(std::move(backend), options));
    return queues;
  };
  Attempt result;
  TrainingRun run(job, where, directory.path());
  if (run.error()) {
    result.error = run.error();
  } else if (auto outcome = run.train(where); outcome) {
    result.outcome = std::move(*outcome);
  } else {
    result.error = outcome.error();
  }
  result.struck = faulty->struck() != 0;
  return result;
}

class DiskFault : public ::testing::TestWithParam<bool> {};

// Strikes operation n, for n from 1 in steps, until a run gets by without being struck.
// `recovers`: a run may also end well, and then with the right bits; else every strike must be an
// Error.
void for_every_operation(const Job& job, aio::Fault fault, bool for_ever, bool recovers,
                         std::optional<aio::Direction> only = {}) {
  const std::uint64_t memory = smallest_memory(job);
  const Outcome wanted = outcome_of(job, {.host_memory = memory});
  std::uint64_t n = 1, errors = 0;
  for (;; n += fault == aio::Fault::short_aligned ? 9 : 3) {
    const Attempt got =
        attempt(job, memory, {.fault = fault, .at = n, .for_ever = for_ever, .only = only});
    if (!got.struck) {
      ASSERT_FALSE(got.error);
      break;
    }
    if (!got.error) {
      EXPECT_TRUE(recovers) << to_string(fault) << " at " << n << " went unnoticed";
      EXPECT_EQ(got.outcome.losses, wanted.losses) << n;
      EXPECT_TRUE(got.outcome.units == wanted.units) << n;
      continue;
    }
    ++errors;
    const std::string text = got.error->message();
    EXPECT_TRUE(got.error->code() == Errc::io || got.error->code() == Errc::corrupt ||
                got.error->code() == Errc::no_space || got.error->code() == Errc::timeout)
        << text;
    EXPECT_NE(text.find("scratch"), std::string::npos) << "names the file: " << text;
  }
  EXPECT_GT(n, 20U) << "a run of this size has many operations";
  if (fault != aio::Fault::short_aligned) {
    EXPECT_GT(errors, 0U);
  }
}

TEST_P(DiskFault, OneFailedOperationIsAnErrorThatNamesTheFile) {
  for_every_operation(small_job(GetParam()), aio::Fault::device_error, false, true);
}
TEST_P(DiskFault, ADeadDiskIsAnErrorThatNamesTheFile) {
  for_every_operation(small_job(GetParam()), aio::Fault::device_error, true, false);
}
TEST_P(DiskFault, AFlippedBitIsNeverTrainedOn) {
  // The store writes whole sections and checks them all, the padding's zeros too or not: a run that
  // goes on has the right bits.
  for_every_operation(small_job(GetParam()), aio::Fault::flip_on_read, false, true,
                      aio::Direction::read);
}
TEST_P(DiskFault, ShortTransfersAreFinished) {
  for_every_operation(small_job(GetParam()), aio::Fault::short_aligned, true, true);
}

INSTANTIATE_TEST_SUITE_P(Training, DiskFault, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "lazy" : "eager"; });

}  // namespace
}  // namespace fathom::engine
