// SPDX-License-Identifier: Apache-2.0
//
// Advice: what would help most, found by planning again with one thing changed. Pure.
//
// Purpose      More host memory, one more equal nvme path, twice the batch, no clipping: each is
//              planned as if it were so, on the same rates, and ranked by predicted tokens per
//              second. What can't be (a doubled batch that no longer fits) is left out.
// Ownership    Values.
// Units        Bytes, seconds, tokens of one rank.
//
//   for (const Advice& advice : advise(plan)) std::puts(advice.sentence.c_str());
#pragma once

#include <string>
#include <vector>

#include "engine/plan/plan.hpp"

namespace fathom::engine {

struct Advice {
  std::string change;       // "host_memory", "nvme_path", "batch", "clipping"
  double from = 0, to = 0;  // bytes; paths; micro-batches a step; 1 → 0
  double step_seconds = 0;  // predicted with the change
  double tokens_per_second = 0;
  double gain = 0;       // of tokens per second: 0.2 is 20 % more
  std::string sentence;  // with its numbers, without a full stop
};

// Best first. Plans up to four times.
std::vector<Advice> advise(const Plan& plan);

}  // namespace fathom::engine
