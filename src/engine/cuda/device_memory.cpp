// SPDX-License-Identifier: Apache-2.0
#include "engine/cuda/device_memory.hpp"

#include <algorithm>

#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "aio/memory_limits.hpp"
#include "base/units.hpp"
#include "engine/cuda/streams.hpp"

namespace fathom::engine {

Result<DeviceMemory> DeviceMemory::allocate(std::uint64_t bytes) {
  DeviceMemory memory;
  if (bytes == 0) return memory;
  void* base = nullptr;
  if (const cudaError_t error = cudaMalloc(&base, bytes); error != cudaSuccess) {
    (void)cudaGetLastError();  // or the next call would report it again
    std::size_t free = 0, total = 0;
    (void)cudaMemGetInfo(&free, &total);
    return fail(Error(Errc::no_space, "allocate device memory")
                    .on(format_bytes(bytes))
                    .because(fmt::format("{}; {} of {} are free", cudaGetErrorString(error),
                                         format_bytes(free), format_bytes(total)))
                    .remedy("lower fathom.device_memory, or end what else uses the GPU"));
  }
  memory.base_ = static_cast<std::byte*>(base);
  memory.bytes_ = bytes;
  return memory;
}

DeviceMemory::~DeviceMemory() {
  if (base_ != nullptr) (void)cudaFree(base_);
}

Result<PinnedArena> PinnedArena::pin(const aio::Arena& arena) {
  PinnedArena pinned;
  if (arena.size() == 0) return pinned;
  if (const cudaError_t error =
          cudaHostRegister(arena.at(0), arena.size(), cudaHostRegisterPortable);
      error != cudaSuccess) {
    (void)cudaGetLastError();
    return fail(Error(Errc::no_space, "pin host memory for the GPU")
                    .on(format_bytes(arena.size()))
                    .because(fmt::format(
                        "{}; available memory is {} ({})", cudaGetErrorString(error),
                        format_bytes(aio::memory_limit().available), aio::memory_limit().reason))
                    .remedy("lower fathom.host_memory, or raise the limit with ulimit -l"));
  }
  pinned.base_ = arena.at(0);
  return pinned;
}

PinnedArena::~PinnedArena() {
  if (base_ != nullptr) (void)cudaHostUnregister(base_);
}

Result<PinnedArray> PinnedArray::allocate(std::uint64_t bytes) {
  PinnedArray array;
  FATHOM_CHECK(cuda_check(cudaHostAlloc(&array.base_, bytes, cudaHostAllocPortable),
                          "allocate pinned host memory"));
  return array;
}

PinnedArray::~PinnedArray() {
  if (base_ != nullptr) (void)cudaFreeHost(base_);
}

void limit_device_tensors(std::uint64_t bytes) {
  namespace allocator = c10::cuda::CUDACachingAllocator;
  std::size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess || total == 0) return;
  allocator::emptyCache();
  allocator::setMemoryFraction(
      std::min(1.0, static_cast<double>(bytes) / static_cast<double>(total)), 0);
  allocator::resetPeakStats(0);
}

std::uint64_t peak_of_device_tensors() {
  return static_cast<std::uint64_t>(
      c10::cuda::CUDACachingAllocator::getDeviceStats(0).allocated_bytes[0].peak);
}

Result<void> copy_to_device(std::byte* device, const std::byte* host, std::uint64_t bytes) {
  return cuda_check(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice), "copy to the GPU");
}

Result<void> copy_from_device(std::byte* host, const std::byte* device, std::uint64_t bytes) {
  return cuda_check(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost), "copy from the GPU");
}

}  // namespace fathom::engine
