// SPDX-License-Identifier: Apache-2.0
#include "engine/inference.hpp"

#include <algorithm>
#include <utility>

#include <ATen/ops/empty.h>

#include "base/clock.hpp"
#include "engine/tensors.hpp"
#include "engine/transfers.hpp"
#include "models/autograd.hpp"

namespace fathom::engine {

InferenceExecutor::InferenceExecutor(const Plan& plan, Residence& residence,
                                     const models::Model& model, Trace* trace)
    : plan_(plan),
      residence_(residence),
      model_(model),
      trace_(trace),
      names_(unit_names(plan.input.model)) {
  whole_.steps = &plan.steady;
  decoder_.steps = &plan.decode;
  prepare(whole_);
  prepare(decoder_);
}

InferenceExecutor::~InferenceExecutor() = default;

void InferenceExecutor::prepare(Program& program) {
  program.swapper.reset();
  if (!program.steps->has_transfers()) return;
  program.swapper = std::make_unique<swap::Swapper>(
      *residence_.store(), transfer_nodes(plan_, residence_, *program.steps));
  if (trace_ == nullptr) return;
  program.log = std::make_unique<TransferLog>();
  program.log->attach(*program.swapper);
}

// Both programs land in the same slots: reads that ran ahead for one must neither fill what the
// other uses nor be taken for fresh later.
Result<void> InferenceExecutor::switch_to(SweepPart part) {
  Program* next = part == SweepPart::whole ? &whole_ : &decoder_;
  Program* before = std::exchange(current_, next);
  if (before == next || !before->swapper) return {};
  FATHOM_CHECK(before->swapper->drain());
  prepare(*before);
  return {};
}

Result<void> InferenceExecutor::sweep(std::vector<SweepBatch>& batches, bool more_follow,
                                      const HeadTask& task, SweepPart part) {
  FATHOM_CHECK(switch_to(part));
  const StepProgram& steps = *current_->steps;
  swap::Swapper* swapper = current_->swapper.get();
  ++sweeps_;
  if (current_->log) current_->log->begin_pass(static_cast<std::int64_t>(sweeps_));
  if (swapper != nullptr) swapper->begin_pass(more_follow);
  for (SweepBatch& batch : batches) batch.carried.assign(plan_.input.model.carries.size(), {});
  for (OpId id = 0; id < steps.ops.size(); ++id) {
    const Op& op = steps.ops[id];
    if (op.is_transfer()) continue;
    if (swapper != nullptr) FATHOM_CHECK(swapper->wait(id));
    const double begin = now_seconds();
    FATHOM_CHECK(run_op(op, batches, task));
    if (trace_ != nullptr)
      trace_->add("cpu", label(op, names_), begin, now_seconds(), 0,
                  static_cast<std::int64_t>(sweeps_));
    if (swapper != nullptr) swapper->complete(id);
  }
  const StepBytes moved = transferred(steps, swapper);
  bytes_.nvme_read += moved.nvme_read;
  if (swapper != nullptr && !more_follow) FATHOM_CHECK(swapper->drain());
  if (current_->log) current_->log->move_to(*trace_, steps, names_);
  for (SweepBatch& batch : batches) {
    const at::Tensor& fresh = plan_.input.model.encoder_decoder ? batch.context.decoder_input_ids
                                                                : batch.context.input_ids;
    for (models::LayerCache& cache : batch.caches) cache.length += fresh.size(1);
  }
  return {};
}

Result<void> InferenceExecutor::run_op(const Op& op, std::vector<SweepBatch>& batches,
                                       const HeadTask& task) {
  models::TensorList weights = parameter_views(plan_, op.unit, residence_.buffer(op.weights));
  if (op.tied_weights != no_buffer)
    weights.push_back(parameter_views(plan_, 0, residence_.buffer(op.tied_weights)).front());
  const models::ModelSpec& spec = plan_.input.model;
  const models::UnitSpec& unit = spec.units[op.unit];
  const bool is_head = op.unit + 1 == plan_.units.size();
  return models::guarded("run a sweep", [&]() -> Result<void> {
    const models::NoGrad no_grad;
    for (std::size_t i = 0; i < batches.size(); ++i) {
      SweepBatch& batch = batches[i];
      models::TensorList inputs;
      for (const std::uint32_t carry : unit.inputs) {
        at::Tensor& value = batch.carried[carry];
        inputs.push_back(value);
        if (spec.carries[carry].last_user == op.unit) value.reset();
      }
      if (is_head) {
        FATHOM_CHECK(task(i, *model_.head, weights, inputs.front()));
        continue;
      }
      models::LayerCache* cache =
          op.unit == 0 || batch.caches.empty() ? nullptr : &batch.caches[op.unit - 1];
      models::TensorList out =
          model_.blocks[op.unit]->forward(weights, inputs, batch.context, cache);
      for (std::size_t k = 0; k < unit.outputs.size(); ++k)
        batch.carried[unit.outputs[k]] = std::move(out[k]);
    }
    return {};
  });
}

at::Tensor positions_of(const at::Tensor& attention_mask) {
  const at::Tensor mask = attention_mask.contiguous();
  at::Tensor positions = at::empty(mask.sizes(), mask.options());
  const std::int64_t rows = mask.size(0), columns = mask.size(1);
  const auto* in = static_cast<const std::int64_t*>(mask.data_ptr());
  auto* out = static_cast<std::int64_t*>(positions.data_ptr());
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int64_t count = 0;
    for (std::int64_t c = 0; c < columns; ++c) {
      count += in[r * columns + c] != 0;
      out[r * columns + c] = std::max<std::int64_t>(count - 1, 0);
    }
  }
  return positions;
}

at::Tensor additive_mask(const at::Tensor& attention_mask, std::int64_t new_tokens,
                         ComputeType type) {
  const at::Tensor mask = attention_mask.contiguous();
  const std::int64_t rows = mask.size(0), total = mask.size(1), past = total - new_tokens;
  at::Tensor additive =
      at::empty({rows, 1, new_tokens, total}, at::TensorOptions().dtype(c10::ScalarType::Float));
  const auto* keep = static_cast<const std::int64_t*>(mask.data_ptr());
  auto* out = static_cast<float*>(additive.data_ptr());
  // fp16's least finite value; in every type it leaves nothing of a hidden key and never gives NaN.
  constexpr float hidden = -65504.0F;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t q = 0; q < new_tokens; ++q)
      for (std::int64_t k = 0; k < total; ++k)
        *out++ = k <= past + q && keep[r * total + k] != 0 ? 0.0F : hidden;
  switch (type) {
    case ComputeType::bf16: return additive.to(c10::ScalarType::BFloat16);
    case ComputeType::fp16: return additive.to(c10::ScalarType::Half);
    case ComputeType::fp32: break;
  }
  return additive;
}

}  // namespace fathom::engine
