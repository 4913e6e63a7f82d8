// SPDX-License-Identifier: Apache-2.0
#include "engine/executor.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/clock.hpp"
#include "engine/optimizer_rule.hpp"
#include "engine/tensors.hpp"
#include "engine/training_pass.hpp"
#include "kernels/convert.hpp"
#include "kernels/norm.hpp"
#include "models/loss.hpp"

namespace fathom::engine {

TrainingExecutor::TrainingExecutor(const Plan& plan, Residence& residence,
                                   const models::Model& model, ThreadPool& pool, UpdateRule rule,
                                   Trace* trace, comm::Communicator* ranks)
    : plan_(plan),
      residence_(residence),
      model_(model),
      pool_(pool),
      rule_(rule),
      master_(master_format(plan.input.sections)),
      gradient_(gradient_format(master_, plan.input.gradient_bytes)),
      trace_(trace),
      ranks_(plan, residence, pool, ranks),
      names_(unit_names(plan.input.model)) {
  for (std::size_t u = 0; u < plan.units.size(); ++u)
    decay_.push_back(decay_runs(plan.input.model.units[u], plan.units[u].flat));
  first_ = prepare(plan.first);
  steady_ = prepare(plan.steady);
  flush_ = prepare(plan.flush);
}

TrainingExecutor::~TrainingExecutor() = default;

std::unique_ptr<TrainingExecutor::Program> TrainingExecutor::prepare(const StepProgram& steps) {
  auto program = std::make_unique<Program>();
  program->steps = &steps;
  if (steps.has_transfers())
    program->swapper = std::make_unique<swap::Swapper>(*residence_.store(),
                                                       transfer_nodes(plan_, residence_, steps));
  if (program->swapper && trace_ != nullptr) {
    program->log = std::make_unique<TransferLog>();
    program->log->attach(*program->swapper);
  }
  return program;
}

Result<StepResult> TrainingExecutor::step(const std::vector<MicroBatch>& batches,
                                          double learning_rate, bool more_follow,
                                          const StepControls& controls) {
  FATHOM_ASSERT(batches.size() == plan_.input.accumulation, "one batch for each micro-batch");
  Pass pass;
  pass.batches = &batches;
  pass.settled = controls.settled ? &controls.settled : nullptr;
  pass.hyper = hyper_of_step(rule_, learning_rate, controls);
  pass.t = updates_ + 1;
  pass.totals.loss_scale = controls.loss_scale;
  for (const MicroBatch& batch : batches)
    pass.totals.predictions += count_predictions(batch.targets);
  FATHOM_CHECK(ranks_.sum(pass.totals.predictions));
  const bool any_lazy = !plan_.flush.empty();
  Program& program = any_lazy && !pending_ ? *first_ : *steady_;
  // Only the steady program repeats itself; anything else is followed by another program.
  const bool repeats = more_follow && &program == steady_.get();

  const double begin = now_seconds();
  const double stalled = program.swapper ? program.swapper->stalled_seconds() : 0;
  FATHOM_CHECK(run(program, pass, repeats));

  StepResult result;
  FATHOM_CHECK(ranks_.combine(pass.totals));
  FATHOM_ASSIGN(const double scale, conclude(pass.totals, rule_, result));
  if (any_lazy) pending_ = PendingUpdate{pass.hyper, pass.t, scale, result.skipped};
  if (!result.skipped) updates_ = pass.t;
  result.seconds = now_seconds() - begin;
  result.stalled_seconds = program.swapper ? program.swapper->stalled_seconds() - stalled : 0;
  result.bytes = transferred(*program.steps, program.swapper.get());
  result.bytes.network = ranks_.take_moved();
  result.planned = {.nvme_read = program.steps->bytes(Resource::nvme_read),
                    .nvme_write = program.steps->bytes(Resource::nvme_write),
                    .network = program.steps->bytes(Resource::network)};
  return result;
}

Result<Evaluation> TrainingExecutor::evaluate(const std::vector<MicroBatch>& batches,
                                              bool more_follow) {
  FATHOM_ASSERT(batches.size() == plan_.input.accumulation, "one batch for each micro-batch");
  FATHOM_ASSERT(!pending_, "evaluation sees a state without pending updates");
  if (!evaluation_) evaluation_ = prepare(plan_.evaluation);
  Pass pass;
  pass.batches = &batches;
  pass.t = updates_;
  FATHOM_CHECK(run(*evaluation_, pass, more_follow));
  Evaluation result{.loss_sum = pass.totals.loss_sum};
  for (const MicroBatch& batch : batches) result.predictions += count_predictions(batch.targets);
  return result;
}

Result<void> TrainingExecutor::flush() {
  // Reads that ran ahead for a step that does not come must neither fill buffers that others are
  // about to use nor be taken for fresh when training goes on.
  if (steady_->swapper) {
    FATHOM_CHECK(steady_->swapper->drain());
    if (steady_->log) steady_->log->move_to(*trace_, *steady_->steps, names_);
    steady_ = prepare(plan_.steady);
  }
  if (!pending_) return {};
  Pass pass;
  FATHOM_CHECK(run(*flush_, pass, false));
  pending_.reset();
  return {};
}

Result<void> TrainingExecutor::run(Program& program, Pass& pass, bool more_follow) {
  if (program.log) program.log->begin_pass(pass.t);
  if (program.swapper) program.swapper->begin_pass(more_follow);
  for (OpId id = 0; id < program.steps->ops.size(); ++id) {
    const Op& op = program.steps->ops[id];
    if (op.is_transfer()) continue;
    // Lazy updates are over and eager ones follow the head's backward.
    if (pass.settled != nullptr && op.kind == OpKind::backward &&
        op.unit + 1 == plan_.units.size()) {
      if (program.swapper) FATHOM_CHECK(program.swapper->settle_writes(id));
      FATHOM_CHECK((*pass.settled)());
    }
    if (program.swapper) FATHOM_CHECK(program.swapper->wait(id));
    const double begin = now_seconds();
    FATHOM_CHECK(run_op(op, pass));
    if (trace_ != nullptr) trace_->add("cpu", label(op, names_), begin, now_seconds(), 0, pass.t);
    if (program.swapper) program.swapper->complete(id);
  }
  if (!program.swapper) return {};
  if (!more_follow) FATHOM_CHECK(program.swapper->drain());
  if (program.log) program.log->move_to(*trace_, *program.steps, names_);
  return {};
}

Result<void> TrainingExecutor::run_op(const Op& op, Pass& pass) {
  const bool is_head = op.unit + 1 == plan_.units.size();
  switch (op.kind) {
    case OpKind::land: land(op); return {};
    case OpKind::forward: return is_head ? head_loss(op, pass) : forward(op, pass);
    case OpKind::backward: return is_head ? head(op, pass) : backward(op, pass);
    case OpKind::reduce:
      return op.resource == Resource::network ? ranks_.reduce(op) : reduce(op, pass);
    case OpKind::update: update(op, pass); return {};
    case OpKind::gather: return ranks_.gather(op);
    case OpKind::fetch:
    case OpKind::write: break;
  }
  return {};
}

void TrainingExecutor::land(const Op& op) {
  const auto* weights = reinterpret_cast<const std::uint16_t*>(residence_.buffer(op.weights));
  auto* out = reinterpret_cast<float*>(residence_.buffer(op.widened));
  const auto widen =
      master_ == kernels::MasterFormat::half ? kernels::fp16_to_fp32 : kernels::bf16_to_fp32;
  widen(&pool_, out, weights, plan_.units[op.unit].flat.elements);
}

models::TensorList TrainingExecutor::parameters(const Op& op) const {
  models::TensorList list;
  const BufferId buffer = op.widened != no_buffer ? op.widened : op.weights;
  if (buffer == no_buffer) return list;
  list = parameter_views(plan_, op.unit, residence_.buffer(buffer));
  if (op.tied_weights != no_buffer)
    list.push_back(parameter_views(plan_, 0, residence_.buffer(op.tied_weights)).front());
  return list;
}

models::BatchContext TrainingExecutor::context(const MicroBatch& batch) const {
  models::BatchContext context = plain_context(batch.input_ids);
  context.decoder_input_ids = batch.decoder_input_ids;
  if (batch.attention_mask.defined())
    context.mask = source_mask(batch.attention_mask, plan_.input.compute);
  return context;
}

// What a unit hands on lies in the buffer of the next unit's inputs, wherever it is used.
std::byte* TrainingExecutor::carry_buffer(std::uint32_t carry, std::size_t micro_batch) const {
  const std::uint32_t producer = plan_.input.model.carries[carry].producer;
  return residence_.buffer(plan_.units[producer + 1].inputs[micro_batch]);
}

models::TensorList TrainingExecutor::block_inputs(std::uint32_t unit,
                                                  std::size_t micro_batch) const {
  models::TensorList list;
  for (const std::uint32_t carry : plan_.input.model.units[unit].inputs)
    list.push_back(carry_view(plan_, carry, carry_buffer(carry, micro_batch)));
  return list;
}

models::TensorList TrainingExecutor::output_gradients(std::uint32_t unit,
                                                      std::size_t micro_batch) const {
  models::TensorList list;
  for (const std::uint32_t carry : plan_.input.model.units[unit].outputs) {
    std::byte* buffer = carry_buffer(carry, micro_batch);
    list.push_back(
        plan_.input.model.carries[carry].shared
            ? carry_gradient_view(plan_, carry, buffer).to(scalar_type(plan_.input.compute))
            : carry_view(plan_, carry, buffer));
  }
  return list;
}

// The gradient of an input with one user replaces it in its buffer: the input is not needed again,
// and the gradient is what its producer needs. Those of several users add up, the last user first.
void TrainingExecutor::hand_back(std::uint32_t unit, std::size_t micro_batch,
                                 const models::TensorList& gradients) {
  const std::vector<std::uint32_t>& inputs = plan_.input.model.units[unit].inputs;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const models::CarrySpec& carry = plan_.input.model.carries[inputs[k]];
    std::byte* buffer = carry_buffer(inputs[k], micro_batch);
    if (!carry.shared) {
      copy_into(carry_view(plan_, inputs[k], buffer), gradients[k]);
      continue;
    }
    auto* sum = static_cast<float*>(carry_gradient_view(plan_, inputs[k], buffer).data_ptr());
    add_tensor(&pool_, sum, gradients[k], unit == carry.last_user);
  }
}

Result<void> TrainingExecutor::forward(const Op& op, Pass& pass) {
  const models::TensorList weights = parameters(op);
  const std::vector<std::uint32_t>& outputs = plan_.input.model.units[op.unit].outputs;
  for (std::size_t i = 0; i < pass.batches->size(); ++i) {
    FATHOM_ASSIGN(const models::TensorList out,
                  forward_block(*model_.blocks[op.unit], weights, block_inputs(op.unit, i),
                                context((*pass.batches)[i])));
    FATHOM_ASSERT(out.size() == outputs.size(), "a block returns what its unit hands on");
    for (std::size_t k = 0; k < outputs.size(); ++k)
      copy_into(carry_view(plan_, outputs[k], carry_buffer(outputs[k], i)), out[k]);
  }
  return {};
}

Result<void> TrainingExecutor::backward(const Op& op, Pass& pass) {
  const bool embedding = op.unit == 0;
  // The gradient of a table of rows does not depend on their values, so none are landed for it.
  const models::TensorList weights =
      embedding ? placeholder_parameters(plan_, op.unit) : parameters(op);
  const bool continues = embedding && plan_.input.model.tied_head;  // the head's part is in already
  for (std::size_t i = 0; i < pass.batches->size(); ++i) {
    const models::TensorList carry = block_inputs(op.unit, i);
    FATHOM_ASSIGN(const models::TensorList gradients,
                  block_gradients(*model_.blocks[op.unit], weights, carry,
                                  context((*pass.batches)[i]), output_gradients(op.unit, i)));
    hand_back(op.unit, i, gradients);
    for (std::size_t p = 0; p < weights.size(); ++p)
      add_gradient(op.unit, p, gradients[carry.size() + p], i == 0 && !continues);
  }
  return {};
}

Result<void> TrainingExecutor::head(const Op& op, Pass& pass) {
  const models::TensorList weights = parameters(op);
  const bool tied = op.tied_weights != no_buffer;
  models::TensorList sums = gradient_sums(op.unit);
  if (tied) sums.push_back(gradient_sums(0).front());
  for (std::size_t i = 0; i < pass.batches->size(); ++i) {
    const at::Tensor input = block_inputs(op.unit, i).front();
    const at::Tensor hidden = input.view({-1, input.size(-1)});
    FATHOM_ASSIGN(const models::HeadLoss loss,
                  models::head_loss_backward(
                      *model_.head, weights, hidden, (*pass.batches)[i].targets.view({-1}),
                      static_cast<std::int64_t>(models::loss_chunk_rows(
                          plan_.input.model, static_cast<std::uint64_t>(hidden.size(0)))),
                      pass.totals.loss_scale / pass.totals.predictions, sums));
    pass.totals.loss_sum += loss.sum();
    copy_into(hidden, loss.gradient);
  }
  // A loss that is not finite is found before anything of this step was applied.
  if (!std::isfinite(pass.totals.loss_sum)) pass.totals.non_finite = "the loss";
  return {};
}

// The head of an evaluation: the loss and nothing else.
Result<void> TrainingExecutor::head_loss(const Op& op, Pass& pass) {
  const models::TensorList weights = parameters(op);
  for (std::size_t i = 0; i < pass.batches->size(); ++i) {
    const at::Tensor input = block_inputs(op.unit, i).front();
    const at::Tensor hidden = input.view({-1, input.size(-1)});
    FATHOM_ASSIGN(
        const double loss,
        models::head_loss(*model_.head, weights, hidden, (*pass.batches)[i].targets.view({-1}),
                          static_cast<std::int64_t>(models::loss_chunk_rows(
                              plan_.input.model, static_cast<std::uint64_t>(hidden.size(0))))));
    pass.totals.loss_sum += loss;
  }
  return {};
}

// The unit's gradient sums as zeroed fp32 tensors of the parameters' shapes.
models::TensorList TrainingExecutor::gradient_sums(std::uint32_t unit) const {
  std::byte* base = residence_.buffer(plan_.units[unit].accumulator);
  std::memset(base, 0, plan_.units[unit].flat.elements * sizeof(float));
  return gradient_views(plan_, unit, base);
}

void TrainingExecutor::add_gradient(std::uint32_t unit, std::size_t parameter,
                                    const at::Tensor& gradient, bool first) const {
  const UnitPlan& up = plan_.units[unit];
  auto* sum = reinterpret_cast<float*>(residence_.buffer(up.accumulator));
  if (first) {
    // The gap behind a parameter has no gradient.
    const auto& spec = plan_.input.model.units[unit];
    const std::uint64_t end = up.flat.offsets[parameter] + spec.parameters[parameter].elements();
    const std::uint64_t next =
        parameter + 1 < spec.parameters.size() ? up.flat.offsets[parameter + 1] : up.flat.elements;
    std::memset(sum + end, 0, (next - end) * sizeof(float));
  }
  add_tensor(&pool_, sum + up.flat.offsets[parameter], gradient, first);
}

Result<void> TrainingExecutor::reduce(const Op& op, Pass& pass) {
  const UnitPlan& up = plan_.units[op.unit];
  const auto* sum =
      reinterpret_cast<const float*>(residence_.buffer(up.accumulator)) + up.partition_first;
  const bool fp16 = gradient_ == kernels::GradientFormat::fp16;
  const kernels::GradientStats stats =
      kernels::gradient_stats(&pool_, sum, up.partition_elements,
                              fp16 ? kernels::fp16_overflow_bits : kernels::fp32_overflow_bits);
  pass.totals.sum_squares += stats.sum_squares;
  if (stats.first_non_finite && pass.totals.non_finite.empty())
    pass.totals.non_finite =
        parameter_at(plan_, op.unit, up.partition_first + *stats.first_non_finite);
  // An update that follows at once is left out by all ranks or by none.
  if (!up.lazy && rule_.skip_non_finite) FATHOM_CHECK(ranks_.share(pass.totals.non_finite));
  if (up.gradient != up.accumulator && gradient_ == kernels::GradientFormat::fp32) {
    std::memcpy(residence_.buffer(up.gradient), sum, up.partition_elements * sizeof(float));
  } else if (up.gradient != up.accumulator) {
    const auto narrow = fp16 ? kernels::fp32_to_fp16 : kernels::fp32_to_bf16;
    narrow(&pool_, reinterpret_cast<std::uint16_t*>(residence_.buffer(up.gradient)), sum,
           up.partition_elements);
  }
  if (observer_) observer_(op.unit, residence_.buffer(up.gradient), up.partition_elements);
  return {};
}

}  // namespace fathom::engine
