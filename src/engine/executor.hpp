// SPDX-License-Identifier: Apache-2.0
//
// TrainingExecutor: runs the StepPrograms of a plan on a model.
//
// Purpose      One optimizer step is one pass over the plan's operation list: every unit is landed
//              once for forward and runs all micro-batches, blocks are recomputed in backward,
//              gradients sum in fp32 in micro-batch order, updates run where the plan put them.
//              What is computed depends on model, data and scalars only, never on placement, slots
//              or backend.
// Ownership    Borrows plan, residence, model and pool; they outlive it.
// Threads      One thread drives it.
// Failure      After an Error the state is unusable; the caller falls back to a checkpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "engine/residence.hpp"
#include "engine/trace.hpp"
#include "kernels/adamw.hpp"
#include "models/block.hpp"
#include "swap/swapper.hpp"

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

class TrainingExecutor {
 public:
  TrainingExecutor(const Plan& plan, Residence& residence, const models::Model& model,
                   ThreadPool& pool, UpdateRule rule, Trace* trace);
  ~TrainingExecutor();
  TrainingExecutor(const TrainingExecutor&) = delete;
  TrainingExecutor& operator=(const TrainingExecutor&) = delete;

  // Runs one optimizer step on plan.input.accumulation micro-batches. `more_follow`: another step
  // will come, so its reads may start early. `settled` is called once, at the point where every
  // unit has the state of the step before, all of it written and none of this step's: see
  // durable_state.hpp. Its Error ends the step.
  Result<StepResult> step(const std::vector<MicroBatch>& batches, double learning_rate,
                          bool more_follow, const std::function<Result<void>()>& settled = {});

  // Applies updates that wait for the next step's forward. Before checkpoints and at the end.
  Result<void> flush();

  // Updates applied or pending: the t of Adam's bias correction. Set when resuming.
  std::int64_t updates() const { return updates_; }
  void set_updates(std::int64_t updates) { updates_ = updates; }

  // Test hook: sees every unit's gradient at rest right after it was reduced.
  using GradientObserver =
      std::function<void(std::uint32_t unit, const std::byte* gradient, std::uint64_t elements)>;
  void observe_gradients(GradientObserver observer) { observer_ = std::move(observer); }

 private:
  struct Program;
  struct PendingUpdate {
    kernels::AdamHyper hyper;
    std::int64_t t = 0;
    double grad_scale = 1;
    bool skip = false;
  };
  struct Pass;

  std::unique_ptr<Program> prepare(const StepProgram& program);
  Result<void> run(Program& program, Pass& pass, bool more_follow);
  Result<void> run_op(const Op& op, Pass& pass);
  void land(const Op& op);
  Result<void> forward(const Op& op, Pass& pass);
  Result<void> backward(const Op& op, Pass& pass);
  Result<void> head(const Op& op, Pass& pass);
  Result<void> reduce(const Op& op, Pass& pass);
  void update(const Op& op, const Pass& pass);
  models::TensorList parameters(const Op& op) const;
  models::TensorList gradient_sums(std::uint32_t unit) const;
  void add_gradient(std::uint32_t unit, std::size_t parameter, const at::Tensor& gradient,
                    bool first) const;
  at::Tensor block_input(std::uint32_t unit, std::size_t micro_batch) const;

  const Plan& plan_;
  Residence& residence_;
  const models::Model& model_;
  ThreadPool& pool_;
  UpdateRule rule_;
  Trace* trace_;
  std::vector<std::vector<DecayRun>> decay_;
  std::vector<std::string> names_;
  std::unique_ptr<Program> first_, steady_, flush_;
  std::optional<PendingUpdate> pending_;
  std::int64_t updates_ = 0;
  GradientObserver observer_;
};

}  // namespace fathom::engine
