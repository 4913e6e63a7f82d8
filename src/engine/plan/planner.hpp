// SPDX-License-Identifier: Apache-2.0
//
// Planner: one candidate of make_plan: a chunk size with its placement, buffers, programs.
// Internal to the plan.
//
// Ownership    Owns the plan in the making; finish() gives it away.
// Threads      Pure.
//
//   Planner planner(input, chunk_elements);
//   if (planner.place({.more_slots = true}).fits && planner.estimate() < best)
//     Plan plan = planner.finish();
#pragma once

#include <cstdint>
#include <memory>

#include "engine/plan/buffers.hpp"
#include "engine/plan/placement.hpp"

namespace fathom::engine {

class Planner {
 public:
  Planner(const PlanInput& input, std::uint64_t chunk_elements);

  // From the lowest tiers anew; as often as one likes before predict().
  Placed place(const Policy& policy);
  // After a place() that fits: seconds of a step, roughly.
  double estimate() const;
  bool everything_in_place() const;  // nothing crosses nvme or PCIe
  // After a place() that fits: buffers, the steady program, the prediction.
  void predict();
  const Prediction& prediction() const { return plan_->prediction; }
  std::size_t chunks() const { return plan_->chunks.size(); }
  std::size_t operations() const { return plan_->steady.ops.size(); }
  // After predict(): the other programs as well.
  Plan finish();

  // Bytes of the gradients that wait for the next step's forward.
  std::uint64_t waiting_gradients() const;

 private:
  void put_everything_lowest();
  void rebuild_layout();

  // On the heap: memory_ refers to it.
  std::unique_ptr<Plan> plan_;
  std::unique_ptr<Memory> memory_;
  Placed placed_;
  Rings rings_;
};

}  // namespace fathom::engine
