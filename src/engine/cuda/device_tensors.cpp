// SPDX-License-Identifier: Apache-2.0
#include "engine/cuda/device_tensors.hpp"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <cuda_runtime_api.h>

#include "base/assert.hpp"
#include "engine/cuda/streams.hpp"
#include "engine/tensors.hpp"
#include "kernels/cuda/convert.hpp"

namespace fathom::engine {
namespace {

at::TensorOptions on_device(c10::ScalarType type) {
  return at::TensorOptions().dtype(type).device(c10::DeviceType::CUDA);
}

models::TensorList views(const Plan& plan, std::uint32_t unit, std::byte* base,
                         c10::ScalarType type, std::uint64_t element_bytes) {
  const models::UnitSpec& spec = plan.input.model.units[unit];
  models::TensorList list;
  for (std::size_t p = 0; p < spec.parameters.size(); ++p)
    list.push_back(at::from_blob(base + plan.units[unit].flat.offsets[p] * element_bytes,
                                 spec.parameters[p].shape, on_device(type)));
  return list;
}

}  // namespace

models::TensorList device_parameters(const Plan& plan, std::uint32_t unit, std::byte* base) {
  return views(plan, unit, base, scalar_type(plan.input.compute), plan.input.compute_bytes());
}

models::TensorList device_gradients(const Plan& plan, std::uint32_t unit, std::byte* base) {
  return views(plan, unit, base, c10::ScalarType::Float, sizeof(float));
}

models::TensorList device_placeholders(const Plan& plan, std::uint32_t unit) {
  const at::Tensor zero = at::zeros({1}, on_device(scalar_type(plan.input.compute)));
  models::TensorList list;
  for (const models::ParameterSpec& parameter : plan.input.model.units[unit].parameters)
    list.push_back(zero.expand(parameter.shape));
  return list;
}

at::Tensor device_carry(const Plan& plan, std::byte* base, std::size_t index) {
  const PlanInput& input = plan.input;
  return at::from_blob(
      base + index * plan.input_stride,
      {static_cast<std::int64_t>(input.micro_batch), static_cast<std::int64_t>(input.length),
       static_cast<std::int64_t>(input.model.hidden)},
      on_device(scalar_type(input.compute)));
}

Result<void> add_on_device(kernels::cuda::Stream stream, float* sum, std::uint64_t gap,
                           const at::Tensor& tensor, bool first) {
  at::Tensor flat = tensor.contiguous();
  if (flat.scalar_type() == c10::ScalarType::Half) flat = flat.to(c10::ScalarType::Float);
  const auto count = static_cast<std::size_t>(flat.numel());
  constexpr const char* tried = "add a gradient";
  if (first && gap != 0)
    FATHOM_CHECK(cuda_check(cudaMemsetAsync(sum + count, 0, gap * sizeof(float), stream), tried));
  if (flat.scalar_type() == c10::ScalarType::Float) {
    const auto* values = static_cast<const float*>(flat.data_ptr());
    if (first)
      return cuda_check(
          cudaMemcpyAsync(sum, values, count * sizeof(float), cudaMemcpyDeviceToDevice, stream),
          tried);
    return cuda_check(kernels::cuda::accumulate_fp32(stream, sum, values, count), tried);
  }
  FATHOM_ASSERT(flat.scalar_type() == c10::ScalarType::BFloat16, "gradients have a compute type");
  const auto* values = static_cast<const std::uint16_t*>(flat.data_ptr());
  return cuda_check(first ? kernels::cuda::bf16_to_fp32(stream, sum, values, count)
                          : kernels::cuda::accumulate_bf16(stream, sum, values, count),
                    tried);
}

}  // namespace fathom::engine
