// SPDX-License-Identifier: Apache-2.0
//
// Ranks over MPI: processes that mpirun (or srun with PMI) started; for ranks on CPUs.
//
// Purpose      open_mpi() initialises MPI, opens the store that the watch needs (served by rank 0
//              at a free port, told to the others through MPI) and gives the communicator.
//              Transfers are non-blocking underneath, so that a rank that is gone ends the others
//              with an Error, and in pieces, so that no count reaches 2^31.
// Ownership    The communicator finalises MPI, unless the job failed: finalising would wait for
//              ranks that are gone. Once a process.
// Threads      open_mpi() in the main thread; the communicator as Communicator says (MPI runs with
//              MPI_THREAD_SERIALIZED).
//
//   FATHOM_ASSIGN(const std::unique_ptr<Communicator> comm, open_mpi(limits));
#pragma once

#include <memory>

#include "comm/communicator.hpp"

namespace fathom::comm {

// Errors: unsupported in a build without MPI or with one that has no threads; io for the store.
Result<std::unique_ptr<Communicator>> open_mpi(const Limits& limits);

// The store alone, for ranks on GPUs that mpirun started: MPI tells where it is, NCCL does the
// rest. MPI stays initialised until the process ends.
struct MpiPlace {
  int rank = 0, size = 1;
  std::shared_ptr<Store> store;
};
Result<MpiPlace> open_mpi_store(const Limits& limits);

bool built_with_mpi();

}  // namespace fathom::comm
