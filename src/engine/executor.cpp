// SPDX-License-Identifier: Apache-2.0
#include "engine/executor.hpp"

#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/clock.hpp"
#include "engine/tensors.hpp"
#include "engine/transfers.hpp"
#include "kernels/convert.hpp"
#include "kernels/norm.hpp"
#include "models/loss.hpp"

namespace fathom::engine {

using swap::ChunkId;

// A StepProgram with what runs its transfers.
struct TrainingExecutor::Program {
  const StepProgram* steps = nullptr;
  std::unique_ptr<swap::Swapper> swapper;  // null when nothing is transferred
};

// What one step carries between its operations.
struct TrainingExecutor::Pass {
  const std::vector<MicroBatch>* batches = nullptr;
  const std::function<Result<void>()>* settled = nullptr;
  double predictions = 0;
  double loss_sum = 0;
  double sum_squares = 0;
  std::string non_finite;  // the first unit and tensor whose gradient is not finite
  bool applied = false;    // an eager unit of this step was updated
  kernels::AdamHyper hyper;
  std::int64_t t = 0;
};

TrainingExecutor::TrainingExecutor(const Plan& plan, Residence& residence,
                                   const models::Model& model, ThreadPool& pool, UpdateRule rule,
                                   Trace* trace)
    : plan_(plan),
      residence_(residence),
      model_(model),
      pool_(pool),
      rule_(rule),
      trace_(trace),
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
  return program;
}

Result<StepResult> TrainingExecutor::step(const std::vector<MicroBatch>& batches,
                                          double learning_rate, bool more_follow,
                                          const std::function<Result<void>()>& settled) {
  FATHOM_ASSERT(batches.size() == plan_.input.accumulation, "one batch for each micro-batch");
  Pass pass;
  pass.batches = &batches;
  pass.settled = settled ? &settled : nullptr;
  pass.hyper = rule_.hyper;
  pass.t = updates_ + 1;
  pass.hyper.lr = learning_rate;
  for (const MicroBatch& batch : batches) pass.predictions += count_predictions(batch.targets);
  const bool any_lazy = !plan_.flush.empty();
  Program& program = any_lazy && !pending_ ? *first_ : *steady_;
  // Only the steady program repeats itself; anything else is followed by another program.
  const bool repeats = more_follow && &program == steady_.get();

  const double begin = now_seconds();
  const double stalled = program.swapper ? program.swapper->stalled_seconds() : 0;
  FATHOM_CHECK(run(program, pass, repeats));

  StepResult result;
  result.loss = pass.loss_sum / pass.predictions;
  result.grad_norm = std::sqrt(pass.sum_squares);
  result.skipped = !pass.non_finite.empty();
  double scale = 1;
  if (rule_.clipping > 0) {
    const double factor = (result.grad_norm + 1e-6) / rule_.clipping;
    if (factor > 1) scale = 1 / factor;
  }
  if (result.skipped && pass.applied)
    return fail(Error(Errc::bad_input, "train a step")
                    .on(pass.non_finite)
                    .because("its gradient is not finite, and units behind it are already updated")
                    .remedy("set gradient_clipping (then such a step is skipped whole) or lower "
                            "the learning rate"));
  if (any_lazy) pending_ = PendingUpdate{pass.hyper, pass.t, scale, result.skipped};
  if (!result.skipped) updates_ = pass.t;
  result.seconds = now_seconds() - begin;
  result.stalled_seconds = program.swapper ? program.swapper->stalled_seconds() - stalled : 0;
  result.bytes = transferred(*program.steps, program.swapper.get());
  result.planned = {.nvme_read = program.steps->bytes(Resource::nvme_read),
                    .nvme_write = program.steps->bytes(Resource::nvme_write)};
  return result;
}

Result<void> TrainingExecutor::flush() {
  // Reads that ran ahead for a step that does not come must neither fill buffers that others are
  // about to use nor be taken for fresh when training goes on.
  if (steady_->swapper) {
    FATHOM_CHECK(steady_->swapper->drain());
    steady_ = prepare(plan_.steady);
  }
  if (!pending_) return {};
  Pass pass;
  FATHOM_CHECK(run(*flush_, pass, false));
  pending_.reset();
  return {};
}

Result<void> TrainingExecutor::run(Program& program, Pass& pass, bool more_follow) {
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
  if (trace_ != nullptr) add_transfers(*trace_, plan_, *program.steps, *program.swapper, pass.t);
  return {};
}

Result<void> TrainingExecutor::run_op(const Op& op, Pass& pass) {
  const bool is_head = op.unit + 1 == plan_.units.size();
  switch (op.kind) {
    case OpKind::land: land(op); return {};
    case OpKind::forward: return forward(op, pass);
    case OpKind::backward: return is_head ? head(op, pass) : backward(op, pass);
    case OpKind::reduce: return reduce(op, pass);
    case OpKind::update: update(op, pass); return {};
    case OpKind::gather:  // one rank: the partition is the unit
    case OpKind::fetch:
    case OpKind::write: break;
  }
  return {};
}

void TrainingExecutor::land(const Op& op) {
  const auto* weights = reinterpret_cast<const std::uint16_t*>(residence_.buffer(op.weights));
  auto* out = reinterpret_cast<float*>(residence_.buffer(op.widened));
  kernels::bf16_to_fp32(&pool_, out, weights, plan_.units[op.unit].flat.elements);
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

at::Tensor TrainingExecutor::block_input(std::uint32_t unit, std::size_t micro_batch) const {
  return carry_view(plan_, residence_.buffer(plan_.units[unit].inputs[micro_batch]));
}

Result<void> TrainingExecutor::forward(const Op& op, Pass& pass) {
  const models::TensorList weights = parameters(op);
  for (std::size_t i = 0; i < pass.batches->size(); ++i) {
    models::TensorList carry;
    if (op.unit != 0) carry.push_back(block_input(op.unit, i));
    FATHOM_ASSIGN(const models::TensorList out, forward_block(*model_.blocks[op.unit], weights,
                                                              carry, (*pass.batches)[i].input_ids));
    copy_into(block_input(op.unit + 1, i), out.front());
  }
  return {};
}

// Gradients of micro-batch i replace the block's input in its buffer: the input is not needed
// again, and the gradient is what the block before needs.
Result<void> TrainingExecutor::backward(const Op& op, Pass& pass) {
  const bool embedding = op.unit == 0;
  // The gradient of a table of rows does not depend on their values, so none are landed for it.
  const models::TensorList weights =
      embedding ? placeholder_parameters(plan_, op.unit) : parameters(op);
  const bool continues = embedding && plan_.input.model.tied_head;  // the head's part is in already
  for (std::size_t i = 0; i < pass.batches->size(); ++i) {
    models::TensorList carry;
    if (!embedding) carry.push_back(block_input(op.unit, i));
    FATHOM_ASSIGN(const models::TensorList gradients,
                  block_gradients(*model_.blocks[op.unit], weights, carry,
                                  (*pass.batches)[i].input_ids, block_input(op.unit + 1, i)));
    if (!embedding) copy_into(block_input(op.unit, i), gradients.front());
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
    const at::Tensor input = block_input(op.unit, i);
    const at::Tensor hidden = input.view({-1, input.size(-1)});
    FATHOM_ASSIGN(const models::HeadLoss loss,
                  models::head_loss_backward(
                      *model_.head, weights, hidden, (*pass.batches)[i].targets.view({-1}),
                      static_cast<std::int64_t>(models::loss_chunk_rows(
                          plan_.input.model, static_cast<std::uint64_t>(hidden.size(0)))),
                      1 / pass.predictions, sums));
    pass.loss_sum += loss.sum;
    copy_into(hidden, loss.gradient);
  }
  // A loss that is not finite is found before anything of this step was applied.
  if (!std::isfinite(pass.loss_sum)) pass.non_finite = "the loss";
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
  const auto* sum = reinterpret_cast<const float*>(residence_.buffer(up.accumulator));
  const kernels::GradientStats stats = kernels::gradient_stats(&pool_, sum, up.flat.elements);
  pass.sum_squares += stats.sum_squares;
  if (stats.first_non_finite && pass.non_finite.empty())
    pass.non_finite = parameter_at(plan_, op.unit, *stats.first_non_finite);
  if (up.gradient != up.accumulator)
    kernels::fp32_to_bf16(&pool_, reinterpret_cast<std::uint16_t*>(residence_.buffer(up.gradient)),
                          sum, up.flat.elements);
  if (observer_) observer_(op.unit, residence_.buffer(up.gradient), up.flat.elements);
  return {};
}

void TrainingExecutor::update(const Op& op, const Pass& pass) {
  const UnitPlan& up = plan_.units[op.unit];
  const PendingUpdate now =
      up.lazy ? *pending_ : PendingUpdate{pass.hyper, pass.t, 1, !pass.non_finite.empty()};
  if (now.skip) return;
  const_cast<Pass&>(pass).applied |= !up.lazy;
  const swap::Chunk& chunk = plan_.layout.chunk(op.chunk);
  const ChunkView view = residence_.view(op.chunk, op.weights, op.states);
  const bool fp32 = plan_.input.gradient_bytes == 4;
  const std::byte* gradient = residence_.buffer(up.gradient);
  for (const DecayRun& run : decay_[op.unit]) {
    const std::uint64_t begin = std::max(run.first, chunk.first);
    const std::uint64_t end = std::min(run.first + run.elements, chunk.first + chunk.elements);
    if (begin >= end) continue;
    const kernels::AdamStep step = kernels::adam_step(now.hyper, now.t, now.grad_scale, run.decays);
    const std::uint64_t at = begin - chunk.first, count = end - begin;
    if (view.low == nullptr)
      kernels::adamw_fp32(&pool_, step, reinterpret_cast<float*>(view.weights) + at, view.m + at,
                          view.v + at, reinterpret_cast<const float*>(gradient) + begin, count);
    else if (fp32)
      kernels::adamw_split(&pool_, step, reinterpret_cast<std::uint16_t*>(view.weights) + at,
                           view.low + at, view.m + at, view.v + at,
                           reinterpret_cast<const float*>(gradient) + begin, count);
    else
      kernels::adamw_split(&pool_, step, reinterpret_cast<std::uint16_t*>(view.weights) + at,
                           view.low + at, view.m + at, view.v + at,
                           reinterpret_cast<const std::uint16_t*>(gradient) + begin, count);
  }
}

}  // namespace fathom::engine
