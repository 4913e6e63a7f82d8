// SPDX-License-Identifier: Apache-2.0
//
// Simulator: how long a StepProgram takes on a machine with given rates. Pure.
//
// Purpose      Runs the operation list against resources instead of devices: the cpu takes its
//              operations in list order, nvme serves reads and writes in the order they become
//              ready, each direction one at a time, and while both are busy they share (1 + duplex)
//              / 2 of their rates (bytes.md §8). Several passes in a row give the steady state.
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
  // Of each operation in one steady pass, from where its computations begin: reads ahead have begun
  // before 0.
  std::vector<OpTimes> times;
};

Simulation simulate(const StepProgram& program, const Rates& rates);

// Seconds that `op` needs when its resource serves nothing else.
double op_seconds(const Op& op, const Rates& rates);

// The least time of a pass whatever the schedule: the busiest resource, reads and writes sharing
// the device as `duplex` says (bytes.md §8; on the CPU, compute and update share the cores).
struct LowerBound {
  double seconds = 0;
  const char* bound_by = "cpu";
};
LowerBound lower_bound(const StepProgram& program, const Rates& rates);

}  // namespace fathom::engine
