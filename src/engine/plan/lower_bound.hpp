// SPDX-License-Identifier: Apache-2.0
//
// Lower bound: the least time of a steady step whatever the schedule. Pure.
//
// Purpose      The busiest resource of bytes.md §8, reads and writes sharing nvme as `duplex` says,
//              and the order of the passes: with clipping no update begins before backward ends. On
//              the device cpu compute and update share the cores.
// Units        Seconds.
#pragma once

#include "engine/plan/plan.hpp"

namespace fathom::engine {

struct LowerBound {
  double seconds = 0;
  const char* bound_by = "cpu";
  ResourceSeconds terms;
};

// Of the plan's steady program.
LowerBound lower_bound(const Plan& plan);

}  // namespace fathom::engine
