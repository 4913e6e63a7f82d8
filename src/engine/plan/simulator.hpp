// SPDX-License-Identifier: Apache-2.0
//
// Simulator: how long a StepProgram takes on a machine with given rates. Pure.
//
// Purpose      Runs the operation list against resources instead of devices, by the rules of
//              program.hpp: the engine thread walks the list, computes what is the CPU's in place
//              and enqueues what is a stream's as soon as the host's part of it is there; streams
//              work in order; nvme serves reads and writes in (pass, list) order as they become
//              ready, each direction one at a time, and while both are busy they share (1 + duplex)
//              / 2 of their rates (bytes.md §8). Passes follow each other until they take the same
//              time: the steady state.
// Units        Seconds.
#pragma once

#include <array>
#include <vector>

#include "engine/plan/plan.hpp"

namespace fathom::engine {

struct OpTimes {
  double begin = 0, end = 0;
};

struct Simulation {
  double seconds = 0;                         // of one steady pass
  std::array<double, resource_count> busy{};  // seconds each resource works in it
  // Of one steady pass, from its first computation: reads ahead have begun before 0.
  std::vector<OpTimes> times;
};

Simulation simulate(const StepProgram& program, const Rates& rates);

// Seconds that `op` needs when its resource serves nothing else.
double op_seconds(const Op& op, const Rates& rates);

}  // namespace fathom::engine
