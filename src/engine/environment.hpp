// SPDX-License-Identifier: Apache-2.0
//
// Environment: what there is on this machine for Fathom, and why something isn't.
//
// Purpose      What a bug report needs: versions, devices, I/O engines, memory and its limits, huge
//              pages, and the optional libraries (CUDA driver, NCCL, MPI, GPUDirect Storage), each
//              with its version or the exact reason why it can't be used. Libraries are looked for
//              by loading them, as Fathom would.
// Threads      One thread; may load libraries into the process.
// Units        Bytes.
//
//   std::puts(environment("/mnt/nvme0").dump(1).c_str());
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace fathom::engine {

// An optional part of the system.
struct Facility {
  std::string name;
  std::string version;  // or what else tells it apart; empty when it can't be used
  std::string reason;   // why it can't be used; empty when it can
  std::vector<std::string> devices = {};  // one line each
  bool usable() const { return reason.empty(); }
};

Facility find_cuda_driver();  // with the GPUs that it shows
Facility find_nccl();
Facility find_mpi();
Facility find_gpudirect_storage();

// Everything, for programs. `path`: the directory whose device and engines are asked about.
nlohmann::json environment(const std::string& path);

// The same for people: a line each.
std::string environment_text(const nlohmann::json& environment);

}  // namespace fathom::engine
