// SPDX-License-Identifier: Apache-2.0
//
// LibTorch's CUDA half, loaded only when a GPU is asked for.
//
// Purpose      The program links c10, c10_cuda, torch_cpu and cudart, so it starts on machines
//              without a GPU. open_cuda_device() loads libtorch_cuda.so beside libtorch_cpu.so,
//              before the first CUDA question is put to ATen, and makes computations repeatable:
//              the same inputs give the same bits, run after run.
// Ownership    The libraries stay loaded.
// Threads      Call from one thread, before any other uses CUDA tensors.
// Units        Bytes.
//
//   FATHOM_ASSIGN(const CudaDevice device, open_cuda_device(0));
//   log::info("{}: {} free", device.name, format_bytes(device.free_bytes));
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace fathom::engine {

struct CudaDevice {
  int index = 0;
  std::string name;
  int major = 0, minor = 0;  // compute capability
  std::uint64_t total_bytes = 0, free_bytes = 0;
};

// Errors: unsupported, with what is missing (driver, device, the CUDA half of the wheel).
Result<CudaDevice> open_cuda_device(int index);

// What the driver shows, without loading LibTorch's CUDA half or creating a context.
Result<CudaDevice> look_at_cuda_device(int index);

}  // namespace fathom::engine
