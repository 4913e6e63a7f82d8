// SPDX-License-Identifier: Apache-2.0
//
// join: from a process's place to its communicator.
//
// Purpose      Ranks on CPUs talk through MPI, ranks on GPUs through NCCL; one rank alone through
//              nothing. Ranks on GPUs find each other at the master's address and port (served by
//              rank 0, or by torchrun's agent), under mpirun through MPI.
// Threads      From the main thread, before others use MPI or CUDA.
//
//   FATHOM_ASSIGN(const Place place, place_of(process_environment()));
//   FATHOM_ASSIGN(const std::unique_ptr<Communicator> comm, join_on_cpu(place, limits));
#pragma once

#include <memory>

#include "comm/communicator.hpp"
#include "comm/place.hpp"

namespace fathom::comm {

Result<std::unique_ptr<Communicator>> join_on_cpu(const Place& place, const Limits& limits);

// `stream`: see nccl.hpp. One rank alone gets alone(), which copies host memory only: a program of
// one rank has no collectives.
Result<std::unique_ptr<Communicator>> join_on_gpu(const Place& place, int device, void* stream,
                                                  const Limits& limits);

}  // namespace fathom::comm
