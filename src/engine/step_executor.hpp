// SPDX-License-Identifier: Apache-2.0
//
// StepExecutor: runs the StepPrograms of a plan, on whatever device the plan is for.
//
// Purpose      What training needs of an executor: optimizer steps, and a state without pending
//              updates. The same plan, data and scalars give the same bits, whatever the placement.
// Ownership    Borrows plan, residence, model and pool; they outlive it.
// Threads      One thread drives it.
// Failure      After an Error the state is unusable; the caller falls back to a checkpoint.
//
//   FATHOM_ASSIGN(StepResult result, executor->step(batches, lr, more_follow));
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "engine/plan/plan.hpp"
#include "kernels/adamw.hpp"

namespace fathom::engine {

struct MicroBatch {
  at::Tensor input_ids;  // int64 [b, s]
  at::Tensor targets;    // int64 [b, s]; -100 is ignored
};

struct StepResult {
  double loss = 0;       // mean over the step's predictions
  double grad_norm = 0;  // before clipping
  bool skipped = false;  // the gradient was not finite; nothing was updated
  double seconds = 0;
  double stalled_seconds = 0;  // waiting for the disk
  StepBytes bytes, planned;
};

struct UpdateRule {
  kernels::AdamHyper hyper;  // lr is given with each step
  double clipping = 0;       // global L2 norm; 0: off
};

class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  // Runs one optimizer step on plan.input.accumulation micro-batches. `more_follow`: another step
  // will come, so its reads may start early.
  virtual Result<StepResult> step(const std::vector<MicroBatch>& batches, double learning_rate,
                                  bool more_follow) = 0;

  // Applies updates that wait for the next step's forward. Before checkpoints and at the end.
  virtual Result<void> flush() = 0;

  // Updates applied or pending: the t of Adam's bias correction. Set when resuming.
  virtual std::int64_t updates() const = 0;
  virtual void set_updates(std::int64_t updates) = 0;
};

}  // namespace fathom::engine
