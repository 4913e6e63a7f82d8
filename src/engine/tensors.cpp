// SPDX-License-Identifier: Apache-2.0
#include "engine/tensors.hpp"

#include <cstring>
#include <span>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include "base/assert.hpp"
#include "engine/pair_batch.hpp"
#include "engine/plan/carry_layout.hpp"
#include "kernels/convert.hpp"
#include "models/autograd.hpp"

namespace fathom::engine {

c10::ScalarType scalar_type(ComputeType type) {
  switch (type) {
    case ComputeType::fp32: return c10::ScalarType::Float;
    case ComputeType::bf16: return c10::ScalarType::BFloat16;
    case ComputeType::fp16: return c10::ScalarType::Half;
  }
  return c10::ScalarType::Float;
}

models::BatchContext plain_context(const at::Tensor& input_ids) {
  return {.input_ids = input_ids,
          .positions = at::arange(input_ids.size(1), input_ids.options())
                           .unsqueeze(0)
                           .expand({input_ids.size(0), input_ids.size(1)}),
          .mask = {}};
}

at::Tensor source_mask(const at::Tensor& attention_mask, ComputeType type) {
  const at::Tensor mask = attention_mask.contiguous();
  at::Tensor additive = at::empty({mask.size(0), 1, 1, mask.size(1)},
                                  at::TensorOptions().dtype(c10::ScalarType::Float));
  const auto* keep = static_cast<const std::int64_t*>(mask.data_ptr());
  auto* out = static_cast<float*>(additive.data_ptr());
  // fp16's least finite value; in every type it leaves nothing of a hidden key and never gives NaN.
  for (std::int64_t i = 0; i < mask.numel(); ++i) out[i] = keep[i] != 0 ? 0.0F : -65504.0F;
  return additive.to(scalar_type(type));
}

namespace {

models::TensorList views(const Plan& plan, std::uint32_t unit, std::byte* base,
                         c10::ScalarType type, std::uint64_t element_bytes) {
  const models::UnitSpec& spec = plan.input.model.units[unit];
  models::TensorList list;
  for (std::size_t p = 0; p < spec.parameters.size(); ++p)
    list.push_back(at::from_blob(base + plan.units[unit].flat.offsets[p] * element_bytes,
                                 spec.parameters[p].shape, at::TensorOptions().dtype(type)));
  return list;
}

}  // namespace

models::TensorList parameter_views(const Plan& plan, std::uint32_t unit, std::byte* base) {
  return views(plan, unit, base, scalar_type(plan.input.compute), plan.input.compute_bytes());
}

models::TensorList gradient_views(const Plan& plan, std::uint32_t unit, std::byte* base) {
  return views(plan, unit, base, c10::ScalarType::Float, sizeof(float));
}

models::TensorList placeholder_parameters(const Plan& plan, std::uint32_t unit) {
  const at::Tensor zero =
      at::zeros({1}, at::TensorOptions().dtype(scalar_type(plan.input.compute)));
  models::TensorList list;
  for (const models::ParameterSpec& parameter : plan.input.model.units[unit].parameters)
    list.push_back(zero.expand(parameter.shape));
  return list;
}

namespace {

std::vector<std::int64_t> carry_shape(const PlanInput& input, std::uint32_t carry) {
  const models::CarrySpec& spec = input.model.carries[carry];
  const auto width = static_cast<std::int64_t>(spec.width);
  if (spec.rows != 0) return {static_cast<std::int64_t>(spec.rows), width};
  const models::Lengths lengths{input.length, input.target_length};
  return {static_cast<std::int64_t>(input.micro_batch),
          static_cast<std::int64_t>(lengths.of(spec.side)), width};
}

}  // namespace

at::Tensor carry_view(const Plan& plan, std::uint32_t carry, std::byte* base) {
  return at::from_blob(base + carry_place(plan.input, carry).offset, carry_shape(plan.input, carry),
                       at::TensorOptions().dtype(scalar_type(plan.input.compute)));
}

at::Tensor carry_gradient_view(const Plan& plan, std::uint32_t carry, std::byte* base) {
  return at::from_blob(base + carry_place(plan.input, carry).gradient,
                       carry_shape(plan.input, carry),
                       at::TensorOptions().dtype(c10::ScalarType::Float));
}

void copy_into(const at::Tensor& target, const at::Tensor& source) {
  FATHOM_ASSERT(target.numel() == source.numel() && target.scalar_type() == source.scalar_type(),
                "a block keeps the shape and type that the plan gave it");
  const at::Tensor flat = source.contiguous();
  std::memcpy(target.data_ptr(), flat.data_ptr(), flat.nbytes());
}

void add_tensor(ThreadPool* pool, float* sum, const at::Tensor& tensor, bool first) {
  const at::Tensor flat = tensor.contiguous();
  const auto count = static_cast<std::size_t>(flat.numel());
  if (flat.scalar_type() == c10::ScalarType::Float) {
    const auto* values = static_cast<const float*>(flat.data_ptr());
    if (first)
      std::memcpy(sum, values, count * sizeof(float));
    else
      kernels::accumulate_fp32(pool, sum, values, count);
    return;
  }
  FATHOM_ASSERT(flat.scalar_type() == c10::ScalarType::BFloat16, "gradients are fp32 or bf16");
  const auto* values = static_cast<const std::uint16_t*>(flat.data_ptr());
  if (first)
    kernels::bf16_to_fp32(pool, sum, values, count);
  else
    kernels::accumulate_bf16(pool, sum, values, count);
}

double count_predictions(const at::Tensor& targets) {
  const at::Tensor flat = targets.contiguous();
  const auto* ids = static_cast<const std::int64_t*>(flat.data_ptr());
  double count = 0;
  for (std::int64_t i = 0; i < flat.numel(); ++i) count += ids[i] != -100;
  return count;
}

Result<models::TensorList> forward_block(const models::Block& block,
                                         const models::TensorList& parameters,
                                         const models::TensorList& carry,
                                         const models::BatchContext& batch) {
  return models::guarded("run a block forward", [&]() -> Result<models::TensorList> {
    const models::NoGrad no_grad;
    return block.forward(parameters, carry, batch, nullptr);
  });
}

Result<models::TensorList> block_gradients(const models::Block& block,
                                           const models::TensorList& parameters,
                                           const models::TensorList& carry,
                                           const models::BatchContext& batch,
                                           const models::TensorList& out_gradients) {
  return models::guarded("run a block backward", [&]() -> Result<models::TensorList> {
    models::TensorList leaves;
    for (const auto* list : {&carry, &parameters})
      for (const at::Tensor& tensor : *list) leaves.push_back(models::leaf(tensor));
    const auto middle = leaves.begin() + static_cast<std::ptrdiff_t>(carry.size());
    const models::WithGrad recording;
    const models::TensorList out =
        block.forward(models::TensorList(middle, leaves.end()),
                      models::TensorList(leaves.begin(), middle), batch, nullptr);
    return models::gradients(out, leaves, out_gradients);
  });
}

PairBatch pair_batch(const models::PairDataset& data, std::uint64_t first, std::uint64_t rows,
                     std::uint64_t source_length, std::uint64_t target_length) {
  const auto make = [&](std::uint64_t columns) {
    return at::empty({static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)},
                     at::TensorOptions().dtype(c10::ScalarType::Long));
  };
  PairBatch batch{make(source_length), make(source_length), make(target_length),
                  make(target_length)};
  const auto row_of = [](const at::Tensor& all, std::uint64_t row) {
    const auto columns = static_cast<std::size_t>(all.size(1));
    return std::span(static_cast<std::int64_t*>(all.data_ptr()) + row * columns, columns);
  };
  for (std::uint64_t row = 0; row < rows; ++row)
    data.record(first + row, {row_of(batch.input_ids, row), row_of(batch.attention_mask, row),
                              row_of(batch.decoder_input_ids, row), row_of(batch.labels, row)});
  return batch;
}

}  // namespace fathom::engine
