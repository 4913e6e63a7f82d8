// SPDX-License-Identifier: Apache-2.0
#include "engine/stepper.hpp"

#include <algorithm>

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "engine/cuda/executor.hpp"
#include "engine/executor.hpp"
#include "engine/host_allocator.hpp"
#include "engine/optimizer_rule.hpp"
#include "engine/weight_check.hpp"

namespace fathom::engine {
namespace {

constexpr int most_skipped = 8;

Result<std::unique_ptr<StepExecutor>> make_executor(const TrainingSetup& setup, RunState& state,
                                                    const UpdateRule& rule, Trace* trace) {
  if (setup.device.kind == DeviceKind::cuda)
    return make_cuda_executor(setup.plan, state.residence(), state.model(), worker_pool(), rule,
                              trace);
  return std::make_unique<TrainingExecutor>(setup.plan, state.residence(), state.model(),
                                            worker_pool(), rule, trace, setup.ranks);
}

}  // namespace

Stepper::Stepper(const TrainingSetup& setup, RunState& state)
    : setup_(setup),
      state_(state),
      config_(setup.config.config),
      schedule_(config_.scheduler, config_.optimizer.lr),
      loss_scale_(config_.precision),
      progress_(state.start()) {
  if (progress_.loss_scale) loss_scale_.resume(*progress_.loss_scale);
}

Result<std::unique_ptr<Stepper>> Stepper::create(const TrainingSetup& setup, RunState& state,
                                                 Trace* trace) {
  std::unique_ptr<Stepper> stepper(new Stepper(setup, state));
  const config::Config& config = setup.config.config;
  // On a GPU activations are in its memory, and its executor caps them.
  if (setup.device.kind == DeviceKind::cpu) {
    install_host_allocator();
    set_host_allocator_cap(setup.plan.activation_bytes);
  }
  reset_host_allocator_peak();
  const UpdateRule rule{.hyper = hyper_of(config.optimizer),
                        .clipping = config.gradient_clipping,
                        .skip_non_finite = config.precision.check_grad_overflow ||
                                           config.precision.compute == config::Precision::fp16};
  FATHOM_ASSIGN(stepper->executor_, make_executor(setup, state, rule, trace));
  stepper->executor_->set_updates(stepper->progress_.updates);
  return stepper;
}

Result<StepMetrics> Stepper::step(const std::vector<MicroBatch>& batches, bool more_follow) {
  StepExecutor& executor = *executor_;
  DurableState* const durable = state_.durable();
  const double lr = schedule_.of_update(static_cast<std::uint64_t>(executor.updates()));
  StepControls controls{
      .loss_scale = loss_scale_.scale(),
      .betas = schedule_.betas_at(schedule_.first_iteration() + executor.updates()),
      .settled = {}};
  if (durable != nullptr && durable->due())
    controls.settled = [durable] { return durable->commit_last(); };
  FATHOM_ASSIGN(const StepResult result, executor.step(batches, lr, more_follow, controls));
  ++progress_.step;
  progress_.updates = executor.updates();
  progress_.next_window += config_.batch.train;
  const std::uint64_t tokens = config_.batch.train * setup_.tokens_per_row();
  progress_.tokens += tokens;
  non_finite_ = result.non_finite;
  skipped_ = result.skipped;
  return StepMetrics{.step = progress_.step,
                     .loss = result.loss,
                     .lr = lr,
                     .grad_norm = result.grad_norm,
                     .loss_scale = controls.loss_scale,
                     .skipped = result.skipped,
                     .tokens = tokens,
                     .seconds = result.seconds,
                     .stalled_seconds = result.stalled_seconds,
                     .lower_bound_seconds = setup_.plan.prediction.lower_bound_seconds,
                     .bytes = result.bytes,
                     .planned = result.planned,
                     .peak_host = setup_.plan.arena_bytes + setup_.plan.input.fixed_bytes +
                                  host_allocator_stats().peak,
                     .peak_device = executor.peak_device_bytes()};
}

Result<void> Stepper::conclude() {
  const double before = loss_scale_.scale();
  const bool can_go_on = loss_scale_.update(!non_finite_.empty());
  if (config_.precision.compute == config::Precision::fp16)
    progress_.loss_scale = loss_scale_.state();
  if (DurableState* durable = state_.durable()) durable->finished(progress_);
  if (non_finite_.empty()) {
    skipped_in_a_row_ = 0;
    return {};
  }
  ++skipped_in_a_row_;
  const std::string scale = loss_scale_.is_dynamic()
                                ? fmt::format("; loss scale {} -> {}", before, loss_scale_.scale())
                                : "";
  log::warning("step {}: {} is not finite, the update {}{}", progress_.step, non_finite_,
               skipped_ ? "is left out" : "is applied all the same", scale);
  if (loss_scale_.is_dynamic() && can_go_on) return {};
  // Only a dynamic scale changes what the next step computes with the same weights.
  FATHOM_CHECK(executor_->flush());
  FATHOM_ASSIGN(const std::optional<std::string> broken,
                first_non_finite_weight(state_.residence(), worker_pool()));
  if (broken) return fail(stop(fmt::format("the weight {} is not finite any more", *broken)));
  if (!can_go_on)
    return fail(stop(fmt::format("{} overflows with the loss scale at its minimum of {}",
                                 non_finite_, loss_scale_.scale())));
  if (skipped_in_a_row_ >= most_skipped)
    return fail(
        stop(fmt::format("the gradients of {} steps in a row were not finite, those of "
                         "the last one first in {}",
                         most_skipped, non_finite_)));
  return {};
}

Error Stepper::stop(const std::string& why) const {
  const bool fp16 = config_.precision.compute == config::Precision::fp16;
  return Error(Errc::bad_input, "train a step")
      .on(fmt::format("step {}", progress_.step))
      .because(why)
      .remedy(fp16 ? "fp16 cannot hold this model: use bf16 or fp32, or a lower learning rate; a "
                     "larger initial_scale_power cannot help"
                   : "use a lower learning rate or a longer warm-up, and look at the data of "
                     "this step");
}

Result<void> Stepper::settle() {
  FATHOM_CHECK(executor_->flush());
  if (DurableState* durable = state_.durable()) return durable->commit_last();
  return {};
}

Result<EvalMetrics> Stepper::evaluate(const RowData& data) {
  const double begin = now_seconds();
  const std::uint64_t rows = data.rows(), sweep = config_.batch.micro * config_.batch.accumulation;
  Evaluation sum;
  for (std::uint64_t first = 0; first < rows; first += sweep) {
    FATHOM_ASSIGN(const Evaluation part,
                  executor_->evaluate(data.batches(first, config_.batch, rows),
                                      /*more_follow=*/first + sweep < rows));
    sum.loss_sum += part.loss_sum;
    sum.predictions += part.predictions;
  }
  return EvalMetrics{.step = progress_.step,
                     .loss = sum.loss_sum / sum.predictions,
                     .tokens = static_cast<std::uint64_t>(sum.predictions),
                     .seconds = now_seconds() - begin};
}

}  // namespace fathom::engine
