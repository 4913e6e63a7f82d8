// SPDX-License-Identifier: Apache-2.0
//
// Swapper: runs the transfers of a step program as early as its dependencies allow.
//
// Purpose      A program is a list of nodes that repeats once per pass (an optimizer step). Some
//              nodes are transfers of the store; the others are the engine's computations. A
//              transfer is submitted as soon as everything it comes after is complete, in (pass,
//              node) order; the engine waits for a node's dependencies, computes, and says so.
//              Since buffers are given to nodes by the plan, and a node that refills a buffer comes
//              after the last that used it, prefetch runs exactly as far ahead as the rings allow,
//              across the end of a pass. Knows bytes and sections, not tensors or optimizers.
// Ownership    Borrows the Store; destruction drains it.
// Threads      One engine thread calls begin_pass, wait, wait_for, drain; complete, stalled_seconds
//              and times may be called from any. Completions arrive on others.
// Order        At most two passes are open. Ready transfers are submitted in (pass, node) order:
//              writes as write-back, reads as prefetch, or as demand when the engine is already
//              blocked on something that needs them.
// Failure      The first failed transfer stops new submissions; wait() and drain() return its
//              Error. Buffers are quiet after drain() and after destruction, not before.
//
//   Swapper swapper(store, nodes);
//   for (pass …) { swapper.begin_pass(more_follow);
//     for (compute node n, in order) { FATHOM_CHECK(swapper.wait(n)); run(n); swapper.complete(n);
//     } }
//   FATHOM_CHECK(swapper.drain());
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "swap/node.hpp"
#include "swap/store.hpp"

namespace fathom::swap {

// Seconds of the monotonic clock; 0 when it did not happen.
struct TransferTimes {
  double submitted = 0, completed = 0;
};

class Swapper {
 public:
  Swapper(Store& store, std::vector<Node> nodes);
  ~Swapper();
  Swapper(const Swapper&) = delete;
  Swapper& operator=(const Swapper&) = delete;

  // Starts the next pass. With `more_follow`, transfers of the pass after it may start as soon as
  // they can; without, the pass is the last (another begin_pass may still follow later).
  void begin_pass(bool more_follow);

  // Blocks until every dependency of `node` of the current pass is complete (and, when the node is
  // a transfer, until it is complete itself). Returns the first failure of any transfer instead.
  Result<void> wait(NodeId node);

  // Blocks until each of these has itself completed; nodes of the current pass (lag 0) or of the
  // one before it (lag 1). For an engine that goes on while its own nodes are under way.
  Result<void> wait_for(std::span<const Dependency> nodes);

  // `node` of the current pass is computed. From any thread, and for nodes that run on queues of
  // their own also before the call for a node that it comes after.
  void complete(NodeId node);

  // Blocks until every write of the passes before and every write of the current pass before node
  // `end` has completed: what was updated until there is on the device. Reads go on meanwhile.
  Result<void> settle_writes(NodeId end);

  // Blocks until every transfer that was submitted, and of the current pass every one that can be,
  // has completed. Nothing of the pass after it is submitted from here to the next begin_pass; what
  // was read ahead counts as done there. Returns the first failure.
  Result<void> drain();

  // Seconds the engine has spent blocked in wait() since construction, the wait under way included.
  double stalled_seconds() const;

  // Whether transfer `node` of the latest pass that began is done, under way, or about to be: all
  // that it comes after is complete.
  bool due(NodeId node) const;

  // Times of transfer `node` in the latest pass that began (for the trace), read ahead or not.
  TransferTimes times(NodeId node) const;

  // Hears of every transfer as it completes: its pass (from 0) and times. Called one at a time,
  // from threads of the store; must be quick and must not call back. Set before the first pass
  // begins.
  using Observer = std::function<void(std::uint64_t pass, NodeId node, TransferTimes times)>;
  void observe(Observer observer);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fathom::swap
