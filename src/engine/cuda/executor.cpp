// SPDX-License-Identifier: Apache-2.0
#include "engine/cuda/executor.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

#include "base/assert.hpp"
#include "base/clock.hpp"
#include "engine/cuda/device_memory.hpp"
#include "engine/cuda/device_tensors.hpp"
#include "engine/cuda/program_run.hpp"
#include "engine/cuda/streams.hpp"
#include "engine/optimizer_rule.hpp"
#include "engine/tensors.hpp"
#include "engine/transfers.hpp"
#include "kernels/cuda/convert.hpp"
#include "kernels/cuda/norm.hpp"
#include "kernels/cuda/update.hpp"
#include "kernels/norm.hpp"
#include "models/autograd.hpp"
#include "models/loss.hpp"

namespace fathom::engine {
namespace {

using kernels::cuda::DeviceGradientStats;

// What one step carries between its operations.
struct Pass {
  std::vector<MicroBatch> batches;    // on the device
  std::vector<at::Tensor> loss_sums;  // on the device
  StepTotals totals;
  kernels::Hyper hyper;
  std::int64_t t = 0;
};

class CudaExecutor final : public StepExecutor {
 public:
  CudaExecutor(const Plan& plan, Residence& residence, const models::Model& model, ThreadPool& pool,
               const UpdateRule& rule, Trace* trace)
      : plan_(plan),
        residence_(residence),
        model_(model),
        pool_(pool),
        rule_(rule),
        master_(master_format(plan.input.sections)),
        gradient_(gradient_format(master_, plan.input.gradient_bytes)),
        trace_(trace),
        names_(unit_names(plan.input.model)) {
    std::uint64_t elements = 0;
    for (std::size_t u = 0; u < plan.units.size(); ++u) {
      decay_.push_back(decay_runs(plan.input.model.units[u], plan.units[u].flat));
      first_element_.push_back(elements);
      elements += plan.units[u].flat.elements;
      largest_ = std::max(largest_, plan.units[u].flat.elements);
    }
  }

  Result<void> open() {
    FATHOM_ASSIGN(streams_, Streams::open(0));
    limit_device_tensors(plan_.activation_bytes + plan_.input.device_fixed_bytes);
    FATHOM_ASSIGN(workspace_, DeviceMemory::allocate(
                                  stats_bytes + kernels::cuda::gradient_stats_workspace(largest_)));
    FATHOM_ASSIGN(known_, PinnedArray::allocate(plan_.units.size() * sizeof(DeviceGradientStats)));
    FATHOM_CHECK(prepare(plan_.first, first_));
    FATHOM_CHECK(prepare(plan_.steady, steady_));
    return prepare(plan_.flush, flush_);
  }

  std::uint64_t peak_device_bytes() const override {
    return plan_.device_arena_bytes + workspace_.bytes() + peak_of_device_tensors();
  }
  std::int64_t updates() const override { return updates_; }
  void set_updates(std::int64_t updates) override { updates_ = updates; }

  Result<StepResult> step(const std::vector<MicroBatch>& batches, double learning_rate,
                          bool more_follow, const StepControls& controls) override {
    FATHOM_ASSERT(batches.size() == plan_.input.accumulation, "one batch for each micro-batch");
    const double begin = now_seconds();
    Pass pass;
    pass.hyper = hyper_of_step(rule_, learning_rate, controls);
    pass.t = updates_ + 1;
    pass.totals.loss_scale = controls.loss_scale;
    FATHOM_CHECK(begin_step(pass, batches));
    const bool any_lazy = !plan_.flush.empty();
    ProgramRun& program = any_lazy && !pending_ ? *first_ : *steady_;
    // Only the steady program repeats itself; anything else is followed by another program.
    const bool repeats = more_follow && &program == steady_.get();
    const double stalled = program.stalled_seconds();
    FATHOM_CHECK(run(program, pass, repeats));
    FATHOM_CHECK(sum_up(pass));

    StepResult result;
    FATHOM_ASSIGN(const double scale, conclude(pass.totals, rule_, result));
    if (any_lazy) pending_ = PendingUpdate{pass.hyper, pass.t, scale, result.skipped};
    if (!result.skipped) updates_ = pass.t;
    result.seconds = now_seconds() - begin;
    result.stalled_seconds = program.stalled_seconds() - stalled;
    result.bytes = program.bytes();
    result.planned = program.planned();
    return result;
  }

  Result<Evaluation> evaluate(const std::vector<MicroBatch>& batches, bool more_follow) override {
    FATHOM_ASSERT(!pending_, "evaluation sees a state without pending updates");
    if (!evaluation_) FATHOM_CHECK(prepare(plan_.evaluation, evaluation_));
    Pass pass;
    FATHOM_CHECK(begin_step(pass, batches));
    FATHOM_CHECK(run(*evaluation_, pass, more_follow));
    return Evaluation{.loss_sum = pass.totals.loss_sum, .predictions = pass.totals.predictions};
  }

  Result<void> flush() override {
    // Reads that ran ahead for a step that does not come must neither fill buffers that others are
    // about to use nor be taken for fresh when training goes on.
    FATHOM_CHECK(steady_->drain());
    FATHOM_CHECK(prepare(plan_.steady, steady_));
    if (!pending_) return {};
    Pass pass;
    FATHOM_CHECK(run(*flush_, pass, false));
    pending_.reset();
    return {};
  }

 private:
  static constexpr std::size_t stats_bytes = 256;

  Result<void> prepare(const StepProgram& steps, std::unique_ptr<ProgramRun>& run) {
    run.reset();
    FATHOM_ASSIGN(run, ProgramRun::prepare(plan_, residence_, steps, *streams_, trace_));
    return {};
  }

  CUstream_st* compute() const { return streams_->of(Resource::device); }
  DeviceGradientStats* total() const {
    return reinterpret_cast<DeviceGradientStats*>(workspace_.at(0));
  }
  // The statistics of this step's gradients as of unit u's, and all units before it in the pass.
  DeviceGradientStats stats_of(std::uint32_t unit) const {
    return static_cast<const DeviceGradientStats*>(known_.data())[unit];
  }
  // Whether a unit of this step was updated before a gradient that is not finite was met: the first
  // of the pass is the head's.
  bool eager_applied() const {
    const auto head = static_cast<std::uint32_t>(plan_.units.size() - 1);
    return stats_of(head).first_non_finite == kernels::cuda::no_index &&
           std::any_of(plan_.units.begin(), plan_.units.end(),
                       [](const UnitPlan& up) { return !up.lazy; });
  }

  Result<void> begin_step(Pass& pass, const std::vector<MicroBatch>& batches) {
    for (const MicroBatch& batch : batches)
      pass.totals.predictions += count_predictions(batch.targets);
    FATHOM_CHECK(models::guarded("bring tokens to the GPU", [&]() -> Result<void> {
      const auto device = at::TensorOptions().device(c10::DeviceType::CUDA);
      for (const MicroBatch& batch : batches)
        pass.batches.push_back({batch.input_ids.to(device), batch.targets.to(device)});
      return {};
    }));
    return cuda_check(kernels::cuda::reset_stats(compute(), total()), "reset the statistics");
  }

  // The streams are idle: what the device has summed up can be read.
  Result<void> sum_up(Pass& pass) const {
    return models::guarded("read the loss", [&]() -> Result<void> {
      StepTotals& totals = pass.totals;
      for (const at::Tensor& sum : pass.loss_sums) totals.loss_sum += sum.item<double>();
      const DeviceGradientStats stats = stats_of(0);  // unit 0 is the last of a pass
      totals.sum_squares = stats.sum_squares;
      totals.applied = eager_applied();
      if (!std::isfinite(totals.loss_sum))
        totals.non_finite = "the loss";
      else if (stats.first_non_finite != kernels::cuda::no_index)
        totals.non_finite = name_of(stats.first_non_finite);
      return {};
    });
  }

  Result<void> run(ProgramRun& program, Pass& pass, bool more_follow) {
    return program.pass(more_follow, pass.t, names_,
                        [&](const Op& op) { return run_op(op, pass); });
  }

  Result<void> run_op(const Op& op, Pass& pass) {
    if (op.is_copy()) return copy(op);
    const bool is_head = op.unit + 1 == plan_.units.size();
    switch (op.kind) {
      case OpKind::forward: return is_head ? head_loss(op, pass) : forward(op, pass);
      case OpKind::backward: return is_head ? head(op, pass) : backward(op, pass);
      case OpKind::reduce: return reduce(op);
      case OpKind::update: return update(op, pass);
      case OpKind::land:
      case OpKind::gather:
      case OpKind::fetch:
      case OpKind::write: break;
    }
    return {};
  }

  Result<void> copy(const Op& op) {
    const bool down = op.resource == Resource::d2h;
    return cuda_check(cudaMemcpyAsync(residence_.buffer(op.to) + op.to_offset,
                                      residence_.buffer(op.from) + op.from_offset, op.bytes,
                                      down ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice,
                                      streams_->of(op.resource)),
                      "copy between host and GPU");
  }

  models::TensorList parameters(const Op& op) const {
    models::TensorList list;
    if (op.weights == no_buffer) return list;
    list = device_parameters(plan_, op.unit, residence_.buffer(op.weights));
    if (op.tied_weights != no_buffer)
      list.push_back(device_parameters(plan_, 0, residence_.buffer(op.tied_weights)).front());
    return list;
  }

  at::Tensor carry(BufferId buffer, std::size_t micro_batch) const {
    return device_carry(plan_, residence_.buffer(buffer), micro_batch);
  }

  Result<void> put(const at::Tensor& target, const at::Tensor& source) const {
    return models::guarded("keep a block's output", [&]() -> Result<void> {
      const models::NoGrad quiet;
      at::Tensor(target).copy_(source.view(target.sizes()));
      return {};
    });
  }

  Result<void> forward(const Op& op, Pass& pass) {
    const models::TensorList weights = parameters(op);
    for (std::size_t i = 0; i < pass.batches.size(); ++i) {
      models::TensorList in;
      if (op.unit != 0) in.push_back(carry(op.carry_in, i));
      FATHOM_ASSIGN(const models::TensorList out,
                    forward_block(*model_.blocks[op.unit], weights, in,
                                  plain_context(pass.batches[i].input_ids)));
      FATHOM_CHECK(put(carry(op.carry_out, i), out.front()));
    }
    return {};
  }

  // As on the CPU: the gradient of micro-batch i's input replaces the input.
  Result<void> backward(const Op& op, Pass& pass) {
    const bool embedding = op.unit == 0;
    const models::TensorList weights =
        embedding ? device_placeholders(plan_, op.unit) : parameters(op);
    const bool continues = embedding && plan_.input.model.tied_head;
    for (std::size_t i = 0; i < pass.batches.size(); ++i) {
      models::TensorList in;
      if (!embedding) in.push_back(carry(op.carry_in, i));
      FATHOM_ASSIGN(
          const models::TensorList gradients,
          block_gradients(*model_.blocks[op.unit], weights, in,
                          plain_context(pass.batches[i].input_ids), {carry(op.carry_out, i)}));
      if (!embedding) FATHOM_CHECK(put(carry(op.carry_in, i), gradients.front()));
      for (std::size_t p = 0; p < weights.size(); ++p)
        FATHOM_CHECK(add_gradient(op, p, gradients[in.size() + p], i == 0 && !continues));
    }
    return {};
  }

  Result<void> add_gradient(const Op& op, std::size_t parameter, const at::Tensor& gradient,
                            bool first) const {
    const FlatUnit& flat = plan_.units[op.unit].flat;
    const auto& spec = plan_.input.model.units[op.unit].parameters;
    auto* sum = reinterpret_cast<float*>(residence_.buffer(op.accumulator));
    const std::uint64_t end = flat.offsets[parameter] + spec[parameter].elements();
    const std::uint64_t next =
        parameter + 1 < spec.size() ? flat.offsets[parameter + 1] : flat.elements;
    return models::guarded("add a gradient", [&]() -> Result<void> {
      return add_on_device(compute(), sum + flat.offsets[parameter], next - end, gradient, first);
    });
  }

  // The unit's gradient sums as zeroed fp32 tensors of the parameters' shapes.
  Result<models::TensorList> zeroed_sums(std::uint32_t unit, BufferId accumulator) const {
    std::byte* base = residence_.buffer(accumulator);
    FATHOM_CHECK(cuda_check(
        cudaMemsetAsync(base, 0, plan_.units[unit].flat.elements * sizeof(float), compute()),
        "clear gradient sums"));
    return device_gradients(plan_, unit, base);
  }

  Result<void> head(const Op& op, Pass& pass) {
    const models::TensorList weights = parameters(op);
    FATHOM_ASSIGN(models::TensorList sums, zeroed_sums(op.unit, op.accumulator));
    if (op.tied_weights != no_buffer) {
      FATHOM_ASSIGN(const models::TensorList table, zeroed_sums(0, plan_.units[0].accumulator));
      sums.push_back(table.front());
    }
    for (std::size_t i = 0; i < pass.batches.size(); ++i) {
      const at::Tensor input = carry(op.carry_in, i);
      const at::Tensor hidden = input.view({-1, input.size(-1)});
      const auto rows = static_cast<std::int64_t>(
          models::loss_chunk_rows(plan_.input.model, static_cast<std::uint64_t>(hidden.size(0))));
      FATHOM_ASSIGN(const models::HeadLoss loss,
                    models::head_loss_backward(
                        *model_.head, weights, hidden, pass.batches[i].targets.view({-1}), rows,
                        pass.totals.loss_scale / pass.totals.predictions, sums));
      pass.loss_sums.push_back(loss.total);
      FATHOM_CHECK(put(hidden, loss.gradient));
    }
    return {};
  }

  // The head of an evaluation: the loss and nothing else.
  Result<void> head_loss(const Op& op, Pass& pass) {
    const models::TensorList weights = parameters(op);
    for (std::size_t i = 0; i < pass.batches.size(); ++i) {
      const at::Tensor input = carry(op.carry_in, i);
      const at::Tensor hidden = input.view({-1, input.size(-1)});
      const auto rows = static_cast<std::int64_t>(
          models::loss_chunk_rows(plan_.input.model, static_cast<std::uint64_t>(hidden.size(0))));
      FATHOM_ASSIGN(const double loss, models::head_loss(*model_.head, weights, hidden,
                                                         pass.batches[i].targets.view({-1}), rows));
      pass.totals.loss_sum += loss;
    }
    return {};
  }

  Result<void> reduce(const Op& op) {
    const std::uint64_t count = plan_.units[op.unit].flat.elements;
    const auto* sum = reinterpret_cast<const float*>(residence_.buffer(op.accumulator));
    constexpr const char* tried = "reduce a gradient";
    FATHOM_CHECK(
        cuda_check(kernels::cuda::add_gradient_stats(
                       compute(), sum, count, first_element_[op.unit], workspace_.at(stats_bytes),
                       total(), fp16() ? kernels::fp16_overflow_bits : kernels::fp32_overflow_bits),
                   tried));
    FATHOM_CHECK(cuda_check(
        cudaMemcpyAsync(static_cast<DeviceGradientStats*>(known_.data()) + op.unit, total(),
                        sizeof(DeviceGradientStats), cudaMemcpyDeviceToHost, compute()),
        tried));
    if (op.gradient == op.accumulator) return {};
    const auto narrow = fp16() ? kernels::cuda::fp32_to_fp16 : kernels::cuda::fp32_to_bf16;
    return cuda_check(
        narrow(compute(), reinterpret_cast<std::uint16_t*>(residence_.buffer(op.gradient)), sum,
               count),
        tried);
  }

  Result<void> update(const Op& op, Pass& pass) {
    const bool lazy = plan_.units[op.unit].lazy;
    PendingUpdate now = lazy ? *pending_ : PendingUpdate{pass.hyper, pass.t, 1, false};
    const bool on_cpu = op.resource == Resource::cpu;
    // An eager update of the device looks at the statistics there; the CPU's are known by now.
    const bool guarded = !lazy && rule_.skip_non_finite;
    if (guarded && on_cpu) now.skip = stats_of(op.unit).first_non_finite != kernels::cuda::no_index;
    if (now.skip) return {};
    const swap::Chunk& chunk = plan_.layout.chunk(op.chunk);
    for (const DecayRun& run : decay_[op.unit]) {
      const std::uint64_t begin = std::max(run.first, chunk.first);
      const std::uint64_t end = std::min(run.first + run.elements, chunk.first + chunk.elements);
      if (begin >= end) continue;
      const kernels::UpdateStep step =
          kernels::make_step(now.hyper, now.t, now.grad_scale, run.decays);
      const kernels::UpdateArrays arrays = arrays_from(op, begin);
      if (on_cpu)
        kernels::update(&pool_, step, arrays, end - begin);
      else
        FATHOM_CHECK(cuda_check(kernels::cuda::update(compute(), step, arrays, end - begin,
                                                      guarded ? total() : nullptr),
                                "update on the GPU"));
    }
    return {};
  }

  // From element `begin` of the unit on, which lies in the operation's chunk.
  kernels::UpdateArrays arrays_from(const Op& op, std::uint64_t begin) const {
    const ChunkView view = residence_.view(op.chunk, op.weights, op.states);
    kernels::UpdateArrays from = kernels::advanced({.master = master_,
                                                    .gradient = gradient_,
                                                    .weight = view.weights,
                                                    .low = view.low,
                                                    .m = view.m,
                                                    .v = view.v,
                                                    .grad = nullptr},
                                                   begin - plan_.layout.chunk(op.chunk).first);
    from.grad = residence_.buffer(op.gradient) + begin * plan_.input.gradient_bytes;
    return from;
  }
  bool fp16() const { return gradient_ == kernels::GradientFormat::fp16; }

  std::string name_of(std::uint64_t element) const {
    std::uint32_t unit = 0;
    while (unit + 1 < first_element_.size() && first_element_[unit + 1] <= element) ++unit;
    return parameter_at(plan_, unit, element - first_element_[unit]);
  }

  const Plan& plan_;
  Residence& residence_;
  const models::Model& model_;
  ThreadPool& pool_;
  UpdateRule rule_;
  kernels::MasterFormat master_;
  kernels::GradientFormat gradient_;
  Trace* trace_;
  std::vector<std::string> names_;
  std::vector<std::vector<DecayRun>> decay_;
  std::vector<std::uint64_t> first_element_;  // of each unit, counting through the model
  std::uint64_t largest_ = 0;
  std::unique_ptr<Streams> streams_;
  DeviceMemory workspace_;  // statistics, then their scratch
  PinnedArray known_;       // statistics by unit
  std::unique_ptr<ProgramRun> first_, steady_, flush_, evaluation_;
  std::optional<PendingUpdate> pending_;
  std::int64_t updates_ = 0;
};

}  // namespace

Result<std::unique_ptr<StepExecutor>> make_cuda_executor(const Plan& plan, Residence& residence,
                                                         const models::Model& model,
                                                         ThreadPool& pool, const UpdateRule& rule,
                                                         Trace* trace) {
  auto executor = std::make_unique<CudaExecutor>(plan, residence, model, pool, rule, trace);
  FATHOM_CHECK(executor->open());
  return executor;
}

}  // namespace fathom::engine
