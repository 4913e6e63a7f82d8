// SPDX-License-Identifier: Apache-2.0
//
// Buffers: where each buffer of a placement lies in the arena of its tier. Internal to the plan.
//
// Units        Bytes; every buffer begins and ends at a multiple of io_alignment.
//
//   const Rings rings = lay_out_buffers(plan, memory);
#pragma once

#include <vector>

#include "engine/plan/memory.hpp"

namespace fathom::engine {

// The buffers that units and chunks pass through, in turn. What a plan does not need is empty.
struct Rings {
  std::vector<BufferId> landing, ring;
  std::vector<BufferId> widened;  // [0] for any unit, [1] for a tied head
  // cuda
  std::vector<BufferId> staging, accumulators, device_gradients, host_gradients, carries,
      host_carries;
};

// Fills plan.buffers and what units and chunks hold of them; sets the arenas' sizes.
Rings lay_out_buffers(Plan& plan, const Memory& memory);

}  // namespace fathom::engine
