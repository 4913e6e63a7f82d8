// SPDX-License-Identifier: Apache-2.0
//
// Memory of the GPU, and host memory that the GPU's copy engines may reach.
//
// Purpose      One allocation of device memory that the plan cuts into buffers, and the
//              registration of the host arena with the driver: copies between the two run
//              asynchronously and at the speed of the bus.
// Ownership    DeviceMemory and PinnedArray own their allocations; PinnedArena its registration,
//              the Arena must outlive it.
// Threads      Creation and destruction from one thread; addresses from any.
// Units        Bytes.
//
//   FATHOM_ASSIGN(DeviceMemory memory, DeviceMemory::allocate(plan.device_bytes));
//   FATHOM_ASSIGN(PinnedArena pinned, PinnedArena::pin(arena));
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "aio/arena.hpp"
#include "base/result.hpp"

namespace fathom::engine {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  // Errors: no_space, with what was wanted and what is free.
  static Result<DeviceMemory> allocate(std::uint64_t bytes);
  DeviceMemory(DeviceMemory&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), bytes_(other.bytes_) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceMemory();

  std::byte* at(std::uint64_t offset) const { return base_ + offset; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::byte* base_ = nullptr;
  std::uint64_t bytes_ = 0;
};

class PinnedArena {
 public:
  PinnedArena() = default;
  // Errors: no_space, with the limits that apply. An arena of no bytes needs nothing.
  static Result<PinnedArena> pin(const aio::Arena& arena);
  PinnedArena(PinnedArena&& other) noexcept : base_(std::exchange(other.base_, nullptr)) {}
  PinnedArena& operator=(PinnedArena&& other) noexcept {
    std::swap(base_, other.base_);
    return *this;
  }
  ~PinnedArena();

 private:
  void* base_ = nullptr;
};

// A small array of pinned host memory, for numbers that the GPU reports.
class PinnedArray {
 public:
  PinnedArray() = default;
  static Result<PinnedArray> allocate(std::uint64_t bytes);
  PinnedArray(PinnedArray&& other) noexcept : base_(std::exchange(other.base_, nullptr)) {}
  PinnedArray& operator=(PinnedArray&& other) noexcept {
    std::swap(base_, other.base_);
    return *this;
  }
  ~PinnedArray();
  void* data() const { return base_; }

 private:
  void* base_ = nullptr;
};

// LibTorch's own device memory (activations): no more than `bytes` from now on, and the most that
// has been in use since.
void limit_device_tensors(std::uint64_t bytes);
std::uint64_t peak_of_device_tensors();

// Copies that return when they are done; for loading and checkpoints, outside programs.
Result<void> copy_to_device(std::byte* device, const std::byte* host, std::uint64_t bytes);
Result<void> copy_from_device(std::byte* host, const std::byte* device, std::uint64_t bytes);

}  // namespace fathom::engine
