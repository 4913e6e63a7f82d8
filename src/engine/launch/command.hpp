// SPDX-License-Identifier: Apache-2.0
//
// The command line that starts a job's ranks: mpirun's, srun's, torchrun's or just the program's.
//
// Purpose      Fathom starts no ranks itself. launch_command() turns hosts, slots and a program
//              into the arguments of an existing launcher; "auto" takes none for one local process,
//              torchrun where this node's rank is given, srun inside a SLURM job, else mpirun, else
//              torchrun on one host.
// Threads      Pure.
//
//   FATHOM_ASSIGN(const auto argv, launch_command({.hosts = {{"localhost", {0, 1}}}}, tools,
//                                                 {"/bin/fathom", "train", …}));
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/launch/hosts.hpp"

namespace fathom::engine {

struct LaunchRequest {
  Hosts hosts;
  std::string launcher = "auto";  // auto | mpirun | srun | torchrun
  bool local = true;              // the hosts are this machine, by whatever name
  bool slots_chosen = false;      // the user named slots: ranks may see those GPUs only
  std::string master_addr = {};   // default: the first host
  std::uint16_t master_port = 29500;
  std::optional<int> node_rank = {};      // this node's, when the user starts every node himself
  std::vector<std::string> forward = {};  // names of variables that ranks elsewhere shall see
};

// What this machine offers.
struct LaunchTools {
  bool mpirun = false, srun = false, torchrun = false;
  bool slurm_job = false;  // inside an allocation
  bool root = false;
};

// Errors: bad_config for requests that no launcher, or not this one, can do.
Result<std::vector<std::string>> launch_command(const LaunchRequest& request,
                                                const LaunchTools& tools,
                                                const std::vector<std::string>& program);

// As a shell takes it: words quoted where they must be.
std::string shell_line(const std::vector<std::string>& argv);

}  // namespace fathom::engine
