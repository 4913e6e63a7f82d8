// SPDX-License-Identifier: Apache-2.0
//
// The CUDA kernels against device memory: each kernel's rate and its share of a device-to-device
// copy's, measured in the same run; the best of several, by CUDA events. No Google Benchmark: a
// machine with a GPU may not have it. Prints one line a kernel; exits 1 with a reason when there is
// no device.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <cuda_runtime_api.h>

#include "kernels/adamw.hpp"
#include "kernels/cuda/adamw.hpp"
#include "kernels/cuda/convert.hpp"
#include "kernels/cuda/norm.hpp"

namespace {

namespace cuda = fathom::kernels::cuda;

constexpr std::size_t count = std::size_t{64} << 20;

void must(int status) {
  if (status == 0) return;
  std::fprintf(stderr, "kernels_cuda_bench: %s\n", cuda::status_text(status));
  std::exit(1);
}

template <typename T>
T* device_array(std::size_t elements) {
  void* array = nullptr;
  must(cudaMalloc(&array, elements * sizeof(T)));
  must(cudaMemset(array, 0, elements * sizeof(T)));
  return static_cast<T*>(array);
}

template <typename Launch>
double best_seconds(const Launch& launch) {
  cudaEvent_t begin = nullptr, end = nullptr;
  must(cudaEventCreate(&begin));
  must(cudaEventCreate(&end));
  float best = 1e30F;
  for (int i = 0; i < 20; ++i) {
    must(cudaEventRecord(begin, nullptr));
    must(launch());
    must(cudaEventRecord(end, nullptr));
    must(cudaEventSynchronize(end));
    float milliseconds = 0;
    must(cudaEventElapsedTime(&milliseconds, begin, end));
    best = std::min(best, milliseconds);
  }
  must(cudaEventDestroy(begin));
  must(cudaEventDestroy(end));
  return static_cast<double>(best) / 1e3;
}

}  // namespace

int main() {
  int devices = 0;
  must(cudaGetDeviceCount(&devices));
  auto* weight = device_array<std::uint16_t>(count);
  auto* low = device_array<std::uint16_t>(count);
  auto* grad16 = device_array<std::uint16_t>(count);
  auto* x = device_array<float>(count);
  auto* m = device_array<float>(count);
  auto* v = device_array<float>(count);
  auto* grad = device_array<float>(count);
  auto* workspace = device_array<char>(cuda::gradient_stats_workspace(count));
  auto* total = device_array<cuda::DeviceGradientStats>(1);
  const auto step = fathom::kernels::adam_step({.lr = 1e-4, .weight_decay = 0.1}, 10, 1, true);

  const double copied = 2.0 * count * sizeof(float);
  const double copy_rate =
      copied / best_seconds([&] {
        return cudaMemcpyAsync(m, v, count * sizeof(float), cudaMemcpyDeviceToDevice, nullptr);
      });
  std::printf("%-18s %8.1f GB/s\n", "copy", copy_rate / 1e9);
  const auto row = [&](const char* name, double bytes_per_element, const auto& launch) {
    const double seconds = best_seconds(launch);
    const double rate = bytes_per_element * count / seconds;
    std::printf("%-18s %8.1f GB/s  %6.2f G elements/s  %.2f of copy\n", name, rate / 1e9,
                count / seconds / 1e9, rate / copy_rate);
  };
  row("adamw_split_bf16", 26,
      [&] { return cuda::adamw_split(nullptr, step, weight, low, m, v, grad16, count); });
  row("adamw_split_fp32", 28,
      [&] { return cuda::adamw_split(nullptr, step, weight, low, m, v, grad, count); });
  row("unaligned split", 26, [&] {
    return cuda::adamw_split(nullptr, step, weight + 1, low + 1, m + 1, v + 1, grad16 + 1,
                             count - 1);
  });
  row("adamw_fp32", 28, [&] { return cuda::adamw_fp32(nullptr, step, x, m, v, grad, count); });
  row("gradient_stats", 4,
      [&] { return cuda::add_gradient_stats(nullptr, grad, count, 0, workspace, total); });
  row("accumulate_bf16", 10, [&] { return cuda::accumulate_bf16(nullptr, x, grad16, count); });
  row("fp32_to_bf16", 6, [&] { return cuda::fp32_to_bf16(nullptr, weight, x, count); });
  row("fp16_to_fp32", 6, [&] { return cuda::fp16_to_fp32(nullptr, x, weight, count); });
  row("split_master", 8, [&] { return cuda::split_master(nullptr, weight, low, x, count); });
  for (void* array :
       {static_cast<void*>(weight), static_cast<void*>(low), static_cast<void*>(grad16),
        static_cast<void*>(x), static_cast<void*>(m), static_cast<void*>(v),
        static_cast<void*>(grad), static_cast<void*>(workspace), static_cast<void*>(total)})
    must(cudaFree(array));
  return 0;
}
