// SPDX-License-Identifier: Apache-2.0
#include "engine/inference.hpp"

#include <algorithm>

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
  if (plan.steady.has_transfers())
    swapper_ = std::make_unique<swap::Swapper>(*residence.store(),
                                               transfer_nodes(plan, residence, plan.steady));
  if (swapper_ && trace_ != nullptr) log_.attach(*swapper_);
}

InferenceExecutor::~InferenceExecutor() = default;

Result<void> InferenceExecutor::sweep(std::vector<SweepBatch>& batches, bool more_follow,
                                      const HeadTask& task) {
  ++sweeps_;
  if (trace_ != nullptr) log_.begin_pass(static_cast<std::int64_t>(sweeps_));
  if (swapper_) swapper_->begin_pass(more_follow);
  for (OpId id = 0; id < plan_.steady.ops.size(); ++id) {
    const Op& op = plan_.steady.ops[id];
    if (op.is_transfer()) continue;
    if (swapper_) FATHOM_CHECK(swapper_->wait(id));
    const double begin = now_seconds();
    FATHOM_CHECK(run_op(op, batches, task));
    if (trace_ != nullptr)
      trace_->add("cpu", label(op, names_), begin, now_seconds(), 0,
                  static_cast<std::int64_t>(sweeps_));
    if (swapper_) swapper_->complete(id);
  }
  const StepBytes moved = transferred(plan_.steady, swapper_.get());
  bytes_.nvme_read += moved.nvme_read;
  if (swapper_ && !more_follow) FATHOM_CHECK(swapper_->drain());
  if (trace_ != nullptr) log_.move_to(*trace_, plan_.steady, names_);
  for (SweepBatch& batch : batches)
    for (models::LayerCache& cache : batch.caches) cache.length += batch.context.input_ids.size(1);
  return {};
}

Result<void> InferenceExecutor::run_op(const Op& op, std::vector<SweepBatch>& batches,
                                       const HeadTask& task) {
  models::TensorList weights = parameter_views(plan_, op.unit, residence_.buffer(op.weights));
  if (op.tied_weights != no_buffer)
    weights.push_back(parameter_views(plan_, 0, residence_.buffer(op.tied_weights)).front());
  const bool is_head = op.unit + 1 == plan_.units.size();
  return models::guarded("run a sweep", [&]() -> Result<void> {
    const models::NoGrad no_grad;
    for (std::size_t i = 0; i < batches.size(); ++i) {
      SweepBatch& batch = batches[i];
      if (is_head) {
        FATHOM_CHECK(task(i, *model_.head, weights, batch.hidden));
        batch.hidden.reset();
        continue;
      }
      models::TensorList carry;
      if (op.unit != 0) carry.push_back(std::move(batch.hidden));
      models::LayerCache* cache =
          op.unit == 0 || batch.caches.empty() ? nullptr : &batch.caches[op.unit - 1];
      batch.hidden = model_.blocks[op.unit]->forward(weights, carry, batch.context, cache).front();
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
