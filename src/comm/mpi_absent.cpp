// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi.hpp"

namespace fathom::comm {
namespace {

Error no_mpi() {
  return Error(Errc::unsupported, "start MPI")
      .because("this build has none")
      .remedy("install libopenmpi-dev and openmpi-bin and build again with -Dmpi=enabled");
}

}  // namespace

Result<std::unique_ptr<Communicator>> open_mpi(const Limits&) { return fail(no_mpi()); }
Result<MpiPlace> open_mpi_store(const Limits&) { return fail(no_mpi()); }
bool built_with_mpi() { return false; }

}  // namespace fathom::comm
