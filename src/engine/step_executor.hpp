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
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "config/schedule.hpp"
#include "engine/plan/plan.hpp"
#include "kernels/update.hpp"

namespace fathom::engine {

struct MicroBatch {
  at::Tensor input_ids;  // int64 [b, s]
  at::Tensor targets;    // int64, one for each row of logits; -100 is ignored
  // Encoder-decoder: int64 [b, s] and [b, t].
  at::Tensor attention_mask = {}, decoder_input_ids = {};
};

struct StepResult {
  double loss = 0;              // mean over the step's predictions
  double grad_norm = 0;         // before clipping
  bool skipped = false;         // the gradient was not finite; nothing was updated
  std::string non_finite = {};  // the first tensor, in backward's order, whose gradient was not
  double seconds = 0;
  double stalled_seconds = 0;  // waiting for the disk
  StepBytes bytes, planned;
};

// Of some rows, by weights that do not change.
struct Evaluation {
  double loss_sum = 0, predictions = 0;
};

struct UpdateRule {
  kernels::Hyper hyper;         // lr is given with each step
  double clipping = 0;          // global L2 norm; 0: off
  bool skip_non_finite = true;  // leave an update out whose gradient is not finite
};

// What changes from step to step besides the learning rate.
struct StepControls {
  double loss_scale = 1;  // the loss is multiplied by it, the update divides it out again
  std::optional<config::Betas> betas = {};
  // Called once, at the point where every unit has the state of the step before, all of it written
  // and none of this step's: see durable_state.hpp. Its Error ends the step.
  std::function<Result<void>()> settled = {};
};

// The scalars of one step, or of the step before for updates that wait.
struct PendingUpdate {
  kernels::Hyper hyper;
  std::int64_t t = 0;
  double grad_scale = 1;
  bool skip = false;
};

class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  // Runs one optimizer step on plan.input.accumulation micro-batches. `more_follow`: another step
  // will come, so its reads may start early.
  virtual Result<StepResult> step(const std::vector<MicroBatch>& batches, double learning_rate,
                                  bool more_follow, const StepControls& controls = {}) = 0;

  // Applies updates that wait for the next step's forward. Before checkpoints and at the end.
  virtual Result<void> flush() = 0;

  // The loss of other rows, in the shape of a step's micro-batches. Only after flush(), and it
  // changes nothing that a later step computes. `more_follow`: another evaluation comes next.
  virtual Result<Evaluation> evaluate(const std::vector<MicroBatch>& batches, bool more_follow) = 0;

  // Updates applied or pending: the t of Adam's bias correction. Set when resuming.
  virtual std::int64_t updates() const = 0;
  virtual void set_updates(std::int64_t updates) = 0;

  // Most device memory in use so far, the plan's buffers included; 0 on the CPU.
  virtual std::uint64_t peak_device_bytes() const { return 0; }
};

// A step's rule with the learning rate, and betas if they change, filled in.
kernels::Hyper hyper_of_step(const UpdateRule& rule, double learning_rate,
                             const StepControls& controls);

// What a pass has summed up.
struct StepTotals {
  double loss_sum = 0, predictions = 0;
  double sum_squares = 0;  // of the gradient, loss scale included
  double loss_scale = 1;
  std::string non_finite;  // empty: everything is finite
  bool applied = false;    // a unit was updated before the end of the pass
};

// Fills in loss, norm and skipped; returns the factor of the gradients that wait. bad_input when a
// step must be skipped and part of it is applied.
Result<double> conclude(const StepTotals& totals, const UpdateRule& rule, StepResult& result);

}  // namespace fathom::engine
