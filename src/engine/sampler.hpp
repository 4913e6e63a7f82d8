// SPDX-License-Identifier: Apache-2.0
//
// Sampler: the next token from a row of logits. Pure.
//
// Purpose      transformers' order and meaning: repetition penalty, then (when sampling)
//              temperature, top-k, top-p, min-p, then a draw. The random number depends on (seed,
//              prompt, position) only, so that neither the other prompts of a batch nor their order
//              change what becomes of one.
// Threads      Pure.
//
//   const std::uint64_t key = prompt_key(prompt_ids, 0);
//   std::int64_t next = sample(logits, {.temperature = 0.8, .top_p = 0.9}, seen, seed, key, 17);
#pragma once

#include <cstdint>
#include <span>

namespace fathom::engine {

struct Sampling {
  double temperature = 0;         // 0: the largest logit, the first of equals
  std::uint64_t top_k = 0;        // 0: all; as many as are equal to the k-th stay
  double top_p = 1;               // the fewest most likely tokens with at least this probability
  double min_p = 0;               // at least this share of the most likely token's probability
  double repetition_penalty = 1;  // of tokens that the prompt or the answer has already
};

// `seen`: the prompt and what was made of it so far. `position`: how many tokens were made.
std::int64_t sample(std::span<const float> logits, const Sampling& sampling,
                    std::span<const std::int64_t> seen, std::uint64_t seed, std::uint64_t key,
                    std::uint64_t position);

// Which stream of random numbers a prompt draws from. `occurrence` tells equal prompts apart: 0 for
// the first.
std::uint64_t prompt_key(std::span<const std::int64_t> ids, std::uint64_t occurrence);

}  // namespace fathom::engine
