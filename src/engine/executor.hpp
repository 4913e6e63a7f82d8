// SPDX-License-Identifier: Apache-2.0
//
// TrainingExecutor: runs the StepPrograms of a plan for the CPU on a model.
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

#include "engine/ranks.hpp"
#include "engine/residence.hpp"
#include "engine/step_executor.hpp"
#include "engine/trace.hpp"
#include "kernels/update.hpp"
#include "models/block.hpp"
#include "swap/swapper.hpp"

namespace fathom::engine {

class TrainingExecutor final : public StepExecutor {
 public:
  TrainingExecutor(const Plan& plan, Residence& residence, const models::Model& model,
                   ThreadPool& pool, UpdateRule rule, Trace* trace,
                   comm::Communicator* ranks = nullptr);
  ~TrainingExecutor() override;
  TrainingExecutor(const TrainingExecutor&) = delete;
  TrainingExecutor& operator=(const TrainingExecutor&) = delete;

  Result<StepResult> step(const std::vector<MicroBatch>& batches, double learning_rate,
                          bool more_follow, const StepControls& controls = {}) override;
  Result<void> flush() override;
  Result<Evaluation> evaluate(const std::vector<MicroBatch>& batches, bool more_follow) override;
  std::int64_t updates() const override { return updates_; }
  void set_updates(std::int64_t updates) override { updates_ = updates; }

  // Test hook: sees every unit's gradient at rest right after it was reduced.
  using GradientObserver =
      std::function<void(std::uint32_t unit, const std::byte* gradient, std::uint64_t elements)>;
  void observe_gradients(GradientObserver observer) { observer_ = std::move(observer); }

 private:
  struct Program;
  struct Pass;

  std::unique_ptr<Program> prepare(const StepProgram& program);
  Result<void> run(Program& program, Pass& pass, bool more_follow);
  Result<void> run_op(const Op& op, Pass& pass);
  void land(const Op& op);
  Result<void> forward(const Op& op, Pass& pass);
  Result<void> backward(const Op& op, Pass& pass);
  Result<void> head(const Op& op, Pass& pass);
  Result<void> head_loss(const Op& op, Pass& pass);
  Result<void> reduce(const Op& op, Pass& pass);
  void update(const Op& op, const Pass& pass);
  void update_lamb(const Op& op, const kernels::LambHyper& hyper, const PendingUpdate& now);
  // From element `begin` of the unit on, which lies in `chunk`.
  kernels::UpdateArrays arrays(const Op& op, swap::ChunkId chunk, std::uint64_t begin) const;
  models::TensorList parameters(const Op& op) const;
  models::TensorList gradient_sums(std::uint32_t unit) const;
  void add_gradient(std::uint32_t unit, std::size_t parameter, const at::Tensor& gradient,
                    bool first) const;
  models::BatchContext context(const MicroBatch& batch) const;
  std::byte* carry_buffer(std::uint32_t carry, std::size_t micro_batch) const;
  models::TensorList block_inputs(std::uint32_t unit, std::size_t micro_batch) const;
  models::TensorList output_gradients(std::uint32_t unit, std::size_t micro_batch) const;
  void hand_back(std::uint32_t unit, std::size_t micro_batch, const models::TensorList& gradients);

  const Plan& plan_;
  Residence& residence_;
  const models::Model& model_;
  ThreadPool& pool_;
  UpdateRule rule_;
  kernels::MasterFormat master_;
  kernels::GradientFormat gradient_;
  Trace* trace_;
  Ranks ranks_;
  std::vector<std::vector<DecayRun>> decay_;
  std::vector<std::string> names_;
  std::unique_ptr<Program> first_, steady_, flush_, evaluation_;
  std::optional<PendingUpdate> pending_;
  std::int64_t updates_ = 0;
  GradientObserver observer_;
};

}  // namespace fathom::engine
