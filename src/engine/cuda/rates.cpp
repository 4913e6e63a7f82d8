// SPDX-License-Identifier: Apache-2.0
#include "engine/cuda/rates.hpp"

#include <algorithm>
#include <functional>
#include <limits>

#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "engine/cuda/device_memory.hpp"
#include "engine/cuda/streams.hpp"
#include "engine/tensors.hpp"
#include "kernels/cuda/convert.hpp"
#include "kernels/cuda/update.hpp"
#include "models/autograd.hpp"

namespace fathom::engine {
namespace {

constexpr std::uint64_t largest_layer = 1'000'000'000;  // elements; above, a product stands in
constexpr std::uint64_t copy_bytes = 256 * MiB, update_elements = 32 * MiB;
constexpr int groups = 5, runs = 4;

// The best of a few groups of runs: the machine undisturbed, which is what a bound means.
Result<double> best_seconds(const std::function<Result<void>()>& run) {
  double best = std::numeric_limits<double>::infinity();
  for (int group = 0; group < groups; ++group) {
    FATHOM_CHECK(cuda_check(cudaDeviceSynchronize(), "measure the GPU"));
    const double begin = now_seconds();
    for (int i = 0; i < runs; ++i) FATHOM_CHECK(run());
    FATHOM_CHECK(cuda_check(cudaDeviceSynchronize(), "measure the GPU"));
    if (group != 0) best = std::min(best, (now_seconds() - begin) / runs);
  }
  return best;
}

at::TensorOptions on_device(c10::ScalarType type) {
  return at::TensorOptions().dtype(type).device(c10::DeviceType::CUDA);
}

Result<double> product_flops(ComputeType compute) {
  const std::int64_t n = 4096;
  const at::Tensor a = at::full({n, n}, 0.01, on_device(scalar_type(compute)));
  FATHOM_ASSIGN(const double seconds, best_seconds([&]() -> Result<void> {
                  (void)at::matmul(a, a);
                  return {};
                }));
  return 2.0 * static_cast<double>(n * n * n) / seconds;
}

Result<double> block_flops(const PlanInput& input) {
  const models::ModelSpec& spec = input.model;
  const models::UnitSpec& layer = spec.units.at(1);
  const auto model = models::make_model(spec);
  if (!model || spec.units.size() < 3 || layer.elements() > largest_layer)
    return product_flops(input.compute);
  const at::TensorOptions type = on_device(scalar_type(input.compute));
  models::TensorList weights;
  for (const models::ParameterSpec& parameter : layer.parameters)
    weights.push_back(at::full(parameter.shape, 0.01, type));
  const auto rows = static_cast<std::int64_t>(input.micro_batch),
             columns = static_cast<std::int64_t>(input.length);
  const at::Tensor hidden =
      at::full({rows, columns, static_cast<std::int64_t>(spec.hidden)}, 0.5, type);
  const at::Tensor ids = at::full({rows, columns}, 0, on_device(c10::ScalarType::Long));
  const bool train = input.mode == Mode::train;
  const auto seconds = best_seconds([&]() -> Result<void> {
    FATHOM_CHECK(forward_block(*model->blocks[1], weights, {hidden}, plain_context(ids)));
    if (train)
      FATHOM_CHECK(
          block_gradients(*model->blocks[1], weights, {hidden}, plain_context(ids), {hidden}));
    return {};
  });
  if (!seconds) return product_flops(input.compute);
  const double passes = train ? 8 : 2;
  return passes * static_cast<double>(layer.matmul_elements * input.micro_batch * input.length) /
         *seconds;
}

Result<void> measure_copies(CudaRates& rates) {
  FATHOM_ASSIGN(const PinnedArray host, PinnedArray::allocate(copy_bytes));
  FATHOM_ASSIGN(const DeviceMemory device, DeviceMemory::allocate(copy_bytes));
  const auto copy = [&](cudaMemcpyKind kind) {
    const bool up = kind == cudaMemcpyHostToDevice;
    return best_seconds([&] {
      return cuda_check(cudaMemcpyAsync(up ? static_cast<void*>(device.at(0)) : host.data(),
                                        up ? host.data() : static_cast<void*>(device.at(0)),
                                        copy_bytes, kind, nullptr),
                        "measure copies");
    });
  };
  FATHOM_ASSIGN(const double up, copy(cudaMemcpyHostToDevice));
  FATHOM_ASSIGN(const double down, copy(cudaMemcpyDeviceToHost));
  rates.h2d = static_cast<double>(copy_bytes) / up;
  rates.d2h = static_cast<double>(copy_bytes) / down;
  return {};
}

Result<void> measure_kernels(CudaRates& rates) {
  const std::uint64_t n = update_elements;
  FATHOM_ASSIGN(const DeviceMemory memory, DeviceMemory::allocate(n * 18));
  FATHOM_CHECK(cuda_check(cudaMemset(memory.at(0), 0, n * 18), "measure kernels"));
  const kernels::UpdateArrays arrays{.master = kernels::MasterFormat::split,
                                     .gradient = kernels::GradientFormat::bf16,
                                     .weight = memory.at(12 * n),
                                     .low = memory.at(14 * n),
                                     .m = reinterpret_cast<float*>(memory.at(0)),
                                     .v = reinterpret_cast<float*>(memory.at(4 * n)),
                                     .grad = memory.at(16 * n)};
  auto* sum = reinterpret_cast<float*>(memory.at(8 * n));
  auto* gradient = reinterpret_cast<std::uint16_t*>(memory.at(16 * n));
  const kernels::UpdateStep step = kernels::make_step(kernels::AdamHyper{.lr = 1e-3}, 1, 1, true);
  FATHOM_ASSIGN(const double update, best_seconds([&] {
                  return cuda_check(kernels::cuda::update(nullptr, step, arrays, n),
                                    "measure kernels");
                }));
  FATHOM_ASSIGN(const double convert, best_seconds([&] {
                  return cuda_check(kernels::cuda::fp32_to_bf16(nullptr, gradient, sum, n),
                                    "measure kernels");
                }));
  rates.update = static_cast<double>(n) / update;
  rates.convert = static_cast<double>(n) / convert;
  return {};
}

}  // namespace

Result<CudaRates> measure_cuda(const PlanInput& input) {
  return models::guarded("measure the GPU", [&]() -> Result<CudaRates> {
    CudaRates rates;
    FATHOM_CHECK(measure_copies(rates));
    FATHOM_CHECK(measure_kernels(rates));
    FATHOM_ASSIGN(rates.flops, block_flops(input));
    c10::cuda::CUDACachingAllocator::emptyCache();
    return rates;
  });
}

}  // namespace fathom::engine
