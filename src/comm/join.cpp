// SPDX-License-Identifier: Apache-2.0
#include "comm/join.hpp"

#include <utility>

#include <fmt/format.h>

#include "comm/mpi.hpp"
#include "comm/nccl.hpp"
#include "comm/tcp_store.hpp"
#include "comm/threads.hpp"

namespace fathom::comm {
namespace {

// srun starts processes that MPI may not know as one job.
Result<void> same_ranks(const Place& place, int rank, int size) {
  if (place.rank == rank && place.world == size) return {};
  return fail(Error(Errc::bad_config, "find this process's rank")
                  .on(to_string(place.launcher))
                  .because(fmt::format("it says rank {} of {}, MPI says rank {} of {}", place.rank,
                                       place.world, rank, size))
                  .remedy("start the ranks with mpirun, or with srun --mpi=pmix"));
}

Result<std::shared_ptr<Store>> store_of(const Place& place, const Limits& limits) {
  if (place.launcher == Launcher::open_mpi) {
    FATHOM_ASSIGN(const MpiPlace mpi, open_mpi_store(limits));
    FATHOM_CHECK(same_ranks(place, mpi.rank, mpi.size));
    return mpi.store;
  }
  return tcp_store({.host = place.master,
                    .port = place.port,
                    .serve = place.rank == 0 && !place.store_is_served,
                    .connect = limits.arrival,
                    .prefix = "fathom/" + place.attempt,
                    .served_by = place.store_is_served ? "torchrun's agent" : "rank 0"});
}

}  // namespace

Result<std::unique_ptr<Communicator>> join_on_cpu(const Place& place, const Limits& limits) {
  if (place.world == 1) return alone();
  if (place.launcher == Launcher::torchrun)
    return fail(Error(Errc::unsupported, "connect ranks on CPUs")
                    .on(fmt::format("{} ranks of torchrun", place.world))
                    .because("ranks on CPUs talk through MPI, and torchrun starts no MPI job")
                    .remedy(fmt::format("mpirun -n {} fathom …, or --device cuda", place.world)));
  FATHOM_ASSIGN(std::unique_ptr<Communicator> comm, open_mpi(limits));
  FATHOM_CHECK(same_ranks(place, comm->rank(), comm->size()));
  return comm;
}

Result<std::unique_ptr<Communicator>> join_on_gpu(const Place& place, int device, void* stream,
                                                  const Limits& limits) {
  if (place.world == 1) return alone();
  FATHOM_ASSIGN(std::shared_ptr<Store> store, store_of(place, limits));
  return open_nccl({.store = std::move(store),
                    .rank = place.rank,
                    .size = place.world,
                    .device = device,
                    .stream = stream},
                   limits);
}

}  // namespace fathom::comm
