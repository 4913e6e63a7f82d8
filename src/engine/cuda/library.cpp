// SPDX-License-Identifier: Apache-2.0
#include "engine/cuda/library.hpp"

#include <cstdlib>
#include <filesystem>

#include <ATen/Context.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include "models/autograd.hpp"

namespace fathom::engine {
namespace {

Error no_device(std::string_view why, std::string_view remedy) {
  return Error(Errc::unsupported, "open the GPU").on("cuda").because(why).remedy(remedy);
}

// libtorch_cuda.so lies where libtorch_cpu.so does.
Result<void> load_torch_cuda() {
  static void* handle = nullptr;
  if (handle != nullptr) return {};
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(&at::globalContext), &info) == 0 ||
      info.dli_fname == nullptr)
    return fail(no_device("the place of libtorch_cpu.so is unknown", "reinstall torch"));
  const std::string path =
      (std::filesystem::path(info.dli_fname).parent_path() / "libtorch_cuda.so").string();
  // Global: its operators register themselves with the dispatcher of libtorch_cpu.
  handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (handle == nullptr)
    return fail(no_device(::dlerror(),
                          "install the CUDA build of torch with the libraries it depends on (pip "
                          "install torch)"));
  return {};
}

}  // namespace

Result<CudaDevice> look_at_cuda_device(int index) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess)
    return fail(no_device(cudaGetErrorString(error),
                          "check with nvidia-smi that driver and GPU work, or use --device cpu"));
  if (index >= count)
    return fail(no_device(
        fmt::format("this machine shows {} CUDA devices, number {} was wanted", count, index),
        "check CUDA_VISIBLE_DEVICES, or use --device cpu"));
  cudaDeviceProp properties{};
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, index); error != cudaSuccess)
    return fail(no_device(cudaGetErrorString(error), "check nvidia-smi"));
  return CudaDevice{.index = index,
                    .name = properties.name,
                    .major = properties.major,
                    .minor = properties.minor,
                    .total_bytes = properties.totalGlobalMem};
}

Result<CudaDevice> open_cuda_device(int index) {
  FATHOM_ASSIGN(CudaDevice device, look_at_cuda_device(index));
  // cuBLAS is repeatable only with a workspace of its own for each stream.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
  FATHOM_CHECK(load_torch_cuda());
  return models::guarded("open the GPU", [&]() -> Result<CudaDevice> {
    at::Context& context = at::globalContext();
    if (!at::Context::hasCUDA())
      return fail(no_device("the torch wheel has no CUDA half", "install the CUDA build of torch"));
    context.lazyInitDevice(c10::DeviceType::CUDA);
    context.setDeterministicAlgorithms(true, false);
    // Filling new tensors with NaN is a debugging aid that costs a pass over memory.
    context.setDeterministicFillUninitializedMemory(false);
    if (const cudaError_t error = cudaSetDevice(index); error != cudaSuccess)
      return fail(no_device(cudaGetErrorString(error), "check nvidia-smi"));
    std::size_t free = 0, total = 0;
    if (const cudaError_t error = cudaMemGetInfo(&free, &total); error != cudaSuccess)
      return fail(no_device(cudaGetErrorString(error), "check nvidia-smi"));
    device.free_bytes = free;
    device.total_bytes = total;
    return device;
  });
}

}  // namespace fathom::engine
