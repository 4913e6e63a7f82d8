// SPDX-License-Identifier: Apache-2.0
//
// Node: one operation of the program that a Swapper runs, and what it comes after.
//
// Ownership    Values; a transfer's buffer is the planner's, and lives as long as the Swapper.
//
//   // Refills the buffer once node 4 of this pass has used it; first needed in the next pass.
//   Node refill{.transfer = read, .after = {{.node = 4, .lag = 0}}};
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "swap/store.hpp"

namespace fathom::swap {

using NodeId = std::uint32_t;

// "After node `node` of this pass (lag 0) or of the pass before (lag 1)". In the first pass a
// dependency with lag 1 is met.
struct Dependency {
  NodeId node = 0;
  std::uint32_t lag = 0;
};

struct Node {
  std::optional<TransferRequest> transfer;  // absent: computed by the engine
  std::vector<Dependency> after;            // lag 0 refers to earlier nodes only
  // Computed on a queue of its own: the engine goes on meanwhile, and of two such nodes the later
  // may be told of first.
  bool asynchronous = false;
};

}  // namespace fathom::swap
