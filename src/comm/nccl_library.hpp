// SPDX-License-Identifier: Apache-2.0
//
// libnccl.so.2, loaded when ranks on GPUs are asked for: programs start without it.
//
// Ownership    The library stays loaded.
// Threads      Safe.
//
//   FATHOM_ASSIGN(const NcclLibrary* nccl, nccl_library());
//   nccl->all_gather(…);
#pragma once

#include <nccl.h>

#include "base/result.hpp"

namespace fathom::comm {

struct NcclLibrary {
  decltype(&ncclGetVersion) get_version;
  decltype(&ncclGetUniqueId) get_unique_id;
  decltype(&ncclCommInitRankConfig) init_rank;
  decltype(&ncclCommFinalize) finalize;
  decltype(&ncclCommDestroy) destroy;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclCommGetAsyncError) async_error;
  decltype(&ncclGetErrorString) error_string;
  decltype(&ncclGetLastError) last_error;
  decltype(&ncclAllGather) all_gather;
  decltype(&ncclReduceScatter) reduce_scatter;
  decltype(&ncclAllReduce) all_reduce;
  decltype(&ncclBroadcast) broadcast;
  int version;
};

// Errors: unsupported, with the loader's words or the version that is too old.
Result<const NcclLibrary*> nccl_library();

}  // namespace fathom::comm
