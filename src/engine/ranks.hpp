// SPDX-License-Identifier: Apache-2.0
//
// Ranks: what a training step does with the other ranks, on host memory.
//
// Purpose      Runs the network operations of a step program (ZeRO, stages 0 to 3) and agrees on
//              what all ranks must decide alike: the number of predictions, the loss and gradient
//              norm, whether a gradient was not finite. With one rank every call returns at once.
//              A gradient is divided by the predictions of all ranks when the loss is, so sums over
//              ranks are means over the global batch, and no 16-bit sum grows with the world.
// Ownership    Borrows everything.
// Threads      The engine thread's. All ranks make the same calls in the same order.
// Units        Elements and bytes are counted as in comm/call.hpp.
//
//   Ranks ranks(plan, residence, pool, communicator);
//   FATHOM_CHECK(ranks.gather(op));   // `op.weights` holds the whole unit
#pragma once

#include <cstdint>
#include <string>

#include "comm/communicator.hpp"
#include "engine/residence.hpp"
#include "engine/step_executor.hpp"

namespace fathom::engine {

class Ranks {
 public:
  // `communicator`: null for one rank.
  Ranks(const Plan& plan, Residence& residence, ThreadPool& pool, comm::Communicator* communicator);

  Result<void> gather(const Op& op);
  // Sums the unit's accumulator; with partitions only this rank's part of it is right afterwards.
  Result<void> reduce(const Op& op);

  // Over all ranks, in rank order.
  Result<void> sum(double& value);
  // Loss, squared norm and the first gradient that was not finite.
  Result<void> combine(StepTotals& totals);
  // Becomes what the first rank says that says anything.
  Result<void> share(std::string& text);

  // Bytes that network operations moved since the last call.
  std::uint64_t take_moved();

 private:
  comm::Element weight_element() const;
  Result<void> reduce_narrowed(float* sum, const UnitPlan& unit);

  const Plan& plan_;
  Residence& residence_;
  ThreadPool& pool_;
  comm::Communicator* communicator_;
  BufferId narrowed_ = no_buffer;
  std::uint64_t moved_ = 0;
};

// Whether any rank says so; with null, whether this one does.
Result<bool> any_rank(comm::Communicator* communicator, bool mine);

// After loading or initialising: W that every rank holds whole, of which each has its partition.
Result<void> make_weights_whole(Residence& residence, comm::Communicator& communicator);

}  // namespace fathom::engine
