// SPDX-License-Identifier: Apache-2.0
//
// Stepper: optimizer steps on a loaded state, with everything that changes from step to step.
//
// Purpose      Learning rate, betas, loss scale, the counters of Progress, commits of a durable
//              store, and the end of a run that cannot go on (a scale at its minimum, weights that
//              are not finite). Where the rows come from and what becomes of the numbers is the
//              caller's.
// Ownership    Borrows setup and state; they outlive it.
// Threads      One thread drives it.
// Failure      After an Error the state is unusable; the caller falls back to a checkpoint.
//
//   FATHOM_ASSIGN(auto stepper, Stepper::create(setup, state, nullptr));
//   FATHOM_ASSIGN(const StepMetrics m, stepper->step(batches, more_follow));
//   FATHOM_CHECK(stepper->conclude());
//   FATHOM_CHECK(stepper->settle());
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/loss_scale.hpp"
#include "config/schedule.hpp"
#include "engine/metrics.hpp"
#include "engine/run_state.hpp"
#include "engine/step_executor.hpp"
#include "engine/trace.hpp"

namespace fathom::engine {

class Stepper {
 public:
  static Result<std::unique_ptr<Stepper>> create(const TrainingSetup& setup, RunState& state,
                                                 Trace* trace);

  // One optimizer step. `more_follow`: another comes right after it. Progress::next_window moves on
  // by the step's rows.
  Result<StepMetrics> step(const std::vector<MicroBatch>& batches, bool more_follow);
  // After each step, once its numbers are noted: the loss scale's turn. An update that was left out
  // is said; an Error when no later step could do better.
  Result<void> conclude();
  // Applies what is pending and commits it where the store is durable: the state at rest is that of
  // the last step.
  Result<void> settle();
  // Of micro-batches in the shape of a step's; after settle(), as StepExecutor::evaluate.
  Result<Evaluation> evaluate(const std::vector<MicroBatch>& batches, bool more_follow) {
    return executor_->evaluate(batches, more_follow);
  }
  // The mean loss over all rows of `data`; after settle().
  Result<EvalMetrics> evaluate(const RowData& data);

  const Progress& progress() const { return progress_; }
  double loss_scale() const { return loss_scale_.scale(); }

 private:
  Stepper(const TrainingSetup& setup, RunState& state);
  Error stop(const std::string& why) const;

  const TrainingSetup& setup_;
  RunState& state_;
  const config::Config& config_;
  config::LearningRate schedule_;
  config::LossScale loss_scale_;
  Progress progress_;
  std::unique_ptr<StepExecutor> executor_;
  std::string non_finite_;  // of the last step
  bool skipped_ = false;    // the last step
  int skipped_in_a_row_ = 0;
};

}  // namespace fathom::engine
