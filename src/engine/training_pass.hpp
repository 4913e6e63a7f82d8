// SPDX-License-Identifier: Apache-2.0
//
// What TrainingExecutor's files share: a program with its transfers, and what one pass carries
// along. Internal to the executor.
#pragma once

#include "engine/executor.hpp"
#include "engine/transfers.hpp"

namespace fathom::engine {

// A StepProgram with what runs its transfers.
struct TrainingExecutor::Program {
  const StepProgram* steps = nullptr;
  std::unique_ptr<TransferLog> log;        // null without a trace; outlives the swapper
  std::unique_ptr<swap::Swapper> swapper;  // null when nothing is transferred
};

// What one step carries between its operations.
struct TrainingExecutor::Pass {
  const std::vector<MicroBatch>* batches = nullptr;
  const std::function<Result<void>()>* settled = nullptr;
  StepTotals totals;
  kernels::Hyper hyper;
  std::int64_t t = 0;
};

}  // namespace fathom::engine
