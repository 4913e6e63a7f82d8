// SPDX-License-Identifier: Apache-2.0
//
// PassOrder: which row stands at which place of the endless sequence of passes over the data. Pure.
//
// Purpose      A run remembers one number, the place of its next row, and goes on in the middle of
//              a shuffled pass. What a rank reads follows from (rank, world) alone: no rank needs
//              to know what another does, and no row is read twice.
// Threads      Pure functions.
// Units        Rows: windows of text, records, or padded documents.
//
//   const PassOrder order{.rows = 1000, .batch = 64, .shuffle = true, .seed = 42};
//   data.row(order.row(first_row(step * 64, micro, 8, rank, world)), …);
#pragma once

#include <cstdint>

namespace fathom::models {

struct PassOrder {
  std::uint64_t rows = 0;   // of the data
  std::uint64_t batch = 0;  // rows of an optimizer step; what fills none is left out of each pass.
                            // 0: nothing is, a step may span two passes
  bool shuffle = false;     // permute anew in each pass
  std::uint64_t seed = 0;

  std::uint64_t per_pass() const { return batch == 0 ? rows : rows / batch * batch; }
  std::uint64_t row(std::uint64_t place) const;
};

// A permutation of 0 … count − 1 that depends on (seed, pass) alone and needs no memory.
std::uint64_t permuted(std::uint64_t index, std::uint64_t count, std::uint64_t seed,
                       std::uint64_t pass);

// The place of the first of `rows` consecutive rows that a rank's micro-batch reads, where its step
// begins at `step_first`. The ranks' parts of one micro-batch follow each other, so that W ranks
// with b rows read what one rank with W·b rows does, micro-batch by micro-batch.
constexpr std::uint64_t first_row(std::uint64_t step_first, std::uint64_t micro_batch,
                                  std::uint64_t rows, std::uint64_t rank, std::uint64_t world) {
  return step_first + (micro_batch * world + rank) * rows;
}

}  // namespace fathom::models
