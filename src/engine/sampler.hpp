// SPDX-License-Identifier: Apache-2.0
//
// Sampler: the next token from a row of logits. Pure.
//
// Purpose      Greedy without temperature; else softmax at that temperature over the top-k and
// top-p
//              candidates. The random number depends on (seed, row, position) only.
// Threads      Pure.
#pragma once

#include <cstdint>
#include <span>

namespace fathom::engine {

struct Sampling {
  double temperature = 0;   // 0: the largest logit, the first of equals
  std::uint64_t top_k = 0;  // 0: all
  double top_p = 1;         // the smallest set of most likely tokens with at least this probability
};

std::int64_t sample(std::span<const float> logits, const Sampling& sampling, std::uint64_t seed,
                    std::uint64_t row, std::uint64_t position);

}  // namespace fathom::engine
