// SPDX-License-Identifier: Apache-2.0
//
// Placement: which sections lie in which tier, and how many slots the rings have. Internal to the
// plan.
//
// Purpose      Mandatory memory first; then device memory, then host memory are filled by seconds
//              saved per byte. What a byte of device memory is worth most for (weights, which cross
//              PCIe twice, or states, which the device updates faster) depends on rates and on what
//              binds, so the device is filled by one of a few orders, and make_plan predicts which
//              serves best.
// Threads      Pure.
//
//   Memory memory(plan);
//   if (place(plan, memory, {.more_slots = true})) …
#pragma once

#include <cstdint>

#include "engine/plan/memory.hpp"

namespace fathom::engine {

enum class DeviceFill : std::uint8_t { whole_units, weights_first, states_first };

struct Policy {
  bool more_slots = true;  // beyond the two that are needed
  DeviceFill fill = DeviceFill::whole_units;
  double share = 1;  // cuda: of the device memory beyond what is mandatory
};

struct Placed {
  bool fits = false;
  // The smallest budgets with which this chunk size works, the other one as given.
  std::uint64_t smallest_host = 0, smallest_device = 0;
};

// Edits `plan` through `memory`. When it does not fit the plan is left as far as it came.
Placed place(Plan& plan, Memory& memory, const Policy& policy);

}  // namespace fathom::engine
