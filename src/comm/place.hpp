// SPDX-License-Identifier: Apache-2.0
//
// Place: which rank of a job this process is, from what the launcher put into its environment.
//
// Purpose      place_of() is pure. It knows torchrun's variables (Accelerate, deepspeed and people
//              set the same ones), Open MPI's and SLURM's; without any the process is alone. A
//              launcher inside another's job (torchrun started once a node by srun) is the one that
//              counts; two that describe the same ranks differently are refused with both values.
// Threads      Pure.
//
//   FATHOM_ASSIGN(const Place place, place_of(process_environment()));
//   place.rank, place.world, to_string(place.launcher)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "comm/environment.hpp"

namespace fathom::comm {

enum class Launcher : std::uint8_t { none, torchrun, open_mpi, slurm };

const char* to_string(Launcher launcher);

struct Place {
  Launcher launcher = Launcher::none;
  int rank = 0, local_rank = 0, world = 1;
  std::string master;  // host of rank 0; empty where MPI finds it
  std::uint16_t port = 29500;
  bool store_is_served = false;  // torchrun's agent serves the store at master:port already
  std::string attempt = "0";     // torchrun's restart count: a restarted job reads no old entries
};

// Errors: bad_config for half a set of variables, values out of range, contradictions.
Result<Place> place_of(const Environment& variables);

// "node[01-03,7],login" -> node01, node02, node03, node7, login: SLURM's shorthand for hosts.
Result<std::vector<std::string>> expand_hosts(std::string_view list);

}  // namespace fathom::comm
