// SPDX-License-Identifier: Apache-2.0
//
// Estimate: what a placement moves and roughly how long a step takes, without its program. Internal
// to the plan.
//
// Purpose      make_plan compares dozens of placements; it simulates those that this finds best.
//              Bytes are exact but for units that are still landed where the pass turns.
// Threads      Pure.
// Units        Bytes, elements, seconds.
#pragma once

#include "engine/plan/memory.hpp"

namespace fathom::engine {

struct Traffic {
  double nvme_read = 0, nvme_write = 0, h2d = 0, d2h = 0;
  double cpu_updates = 0, device_updates = 0;  // elements
  double flops = 0;
};

// Of a steady step.
Traffic traffic_of(const Plan& plan);

// The busiest resource or ring, and what one chunk takes to go through.
double estimate_seconds(const Plan& plan, const Memory& memory);

}  // namespace fathom::engine
