// SPDX-License-Identifier: Apache-2.0
//
// A keyed permutation without a table: a balanced Feistel network over the next even power of two,
// walked until the value falls inside the range (Black and Rogaway, "Ciphers with arbitrary finite
// domains", 2002).
#include <bit>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/random.hpp"
#include "models/pass_order.hpp"

namespace fathom::models {

std::uint64_t permuted(std::uint64_t index, std::uint64_t count, std::uint64_t seed,
                       std::uint64_t pass) {
  FATHOM_ASSERT(index < count, "an index beyond the permutation");
  if (count == 1) return 0;
  const int half = (std::bit_width(count - 1) + 1) / 2;
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  const CounterRandom random(seed, fmt::format("data/shuffle/{}", pass));
  constexpr std::uint64_t rounds = 8;
  do {
    std::uint64_t left = index >> half, right = index & mask;
    for (std::uint64_t round = 0; round < rounds; ++round) {
      const std::uint64_t mixed = left ^ (random.bits(right * rounds + round) & mask);
      left = right;
      right = mixed;
    }
    index = left << half | right;
  } while (index >= count);
  return index;
}

std::uint64_t PassOrder::row(std::uint64_t place) const {
  const std::uint64_t index = place % per_pass();
  return shuffle ? permuted(index, rows, seed, place / per_pass()) : index;
}

}  // namespace fathom::models
