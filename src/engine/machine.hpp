// SPDX-License-Identifier: Apache-2.0
//
// Machine: what this machine can do, measured once and remembered.
//
// Purpose      The planner needs FLOP/s, update and convert rates and the disk's rates. They are
//              measured when first needed and kept in a small file under $XDG_CACHE_HOME/fathom (or
//              ~/.cache/fathom) for a day, keyed by what they depend on. Overrides from the command
//              line win.
// Threads      One thread at a time.
// Units        FLOPs, elements and bytes per second.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.hpp"
#include "config/config.hpp"
#include "engine/plan/plan.hpp"

namespace fathom::engine {

struct RateOverrides {
  std::optional<double> flops, read, write, duplex, pcie;
};

// Rates for `input` (its model, batch and compute type). `paths`: the directories of the store,
// empty when nothing is on nvme. A path that can't be measured keeps the defaults; using it later
// gives the real Error.
Rates measure_machine(const PlanInput& input, const std::vector<std::string>& paths,
                      const aio::QueueOptions& queue, const RateOverrides& overrides,
                      ThreadPool& pool);

// Whether bf16 matrix products are faster here than fp32 ones on widened weights.
bool has_fast_bf16();

// This process's peak resident set so far (VmHWM), in bytes.
std::uint64_t peak_resident_bytes();
std::uint64_t resident_bytes();

}  // namespace fathom::engine
