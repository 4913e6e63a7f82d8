// SPDX-License-Identifier: Apache-2.0
#include "comm/nccl.hpp"

namespace fathom::comm {

Result<std::unique_ptr<Communicator>> open_nccl(const NcclOptions&, const Limits&) {
  return fail(Error(Errc::unsupported, "start NCCL")
                  .because("this build has none")
                  .remedy("build where the CUDA toolkit and nccl.h are, with -Dnccl=enabled"));
}

bool built_with_nccl() { return false; }

}  // namespace fathom::comm
