// SPDX-License-Identifier: Apache-2.0
//
// Ranks over NCCL: one GPU a rank, collectives in the order of one stream.
//
// Purpose      Buffers are device memory. A call enqueues on `stream` and returns; work enqueued
//              there before it comes before it, work after it after it, so the engine needs events
//              only towards its other streams. NCCL's errors are polled at every beat of the watch;
//              a failed job aborts, which frees kernels that wait for a rank that is gone.
//              Half types are added as NCCL does it: rounded at each of its steps.
// Ownership    The stream is the caller's and outlives the communicator.
// Threads      As Communicator. Ranks may be processes or threads of one process.
//
//   FATHOM_ASSIGN(const auto comm, open_nccl({.store = store, .rank = 0, .size = 2, .device = 0,
//                                             .stream = stream}, limits));
#pragma once

#include <memory>

#include "comm/communicator.hpp"

namespace fathom::comm {

struct NcclOptions {
  std::shared_ptr<Store> store;  // carries NCCL's id
  int rank = 0, size = 1;
  int device = 0;          // CUDA's number
  void* stream = nullptr;  // a cudaStream_t
};

// Errors: unsupported without NCCL (in this build, on this machine); io for what NCCL refuses.
// Blocks until all ranks have come, or the limits are passed.
Result<std::unique_ptr<Communicator>> open_nccl(const NcclOptions& options, const Limits& limits);

bool built_with_nccl();

}  // namespace fathom::comm
