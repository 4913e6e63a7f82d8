// SPDX-License-Identifier: Apache-2.0
//
// Progress: what a rank tells the others about itself, and the verdicts that follow from it.
//
// Purpose      The pure half of the watch: which rank did not arrive, and how to say so.
// Threads      Plain values.
// Units        Collectives are numbered from 1 in the order of the calls, equal on all ranks.
//
//   encode(progress) -> "17 42 41 0 all_gather of 1024 bf16 from each rank"
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace fathom::comm {

struct Progress {
  std::uint64_t beat = 0;     // grows while the rank lives
  std::uint64_t entered = 0;  // the newest collective it has called
  std::uint64_t done = 0;     // the newest that is complete
  bool left = false;          // it has closed its communicator
  std::string doing;          // the oldest that is not complete; empty: none
};

std::string encode(const Progress& progress);
std::optional<Progress> decode_progress(std::string_view text);

// The ranks of a job as one of them sees them; nothing: not heard of yet.
using Board = std::vector<std::optional<Progress>>;

// Collective `number` has waited `seconds`: who did not arrive.
Error late_error(const Board& board, std::uint64_t number, std::string_view what, double seconds);
// `rank` has given no sign of life for `seconds`.
Error dead_error(int rank, const Progress& last, double seconds);
// `rank` closed its communicator while others are at collective `number`.
Error left_error(int rank, const Progress& last, std::uint64_t number);

}  // namespace fathom::comm
