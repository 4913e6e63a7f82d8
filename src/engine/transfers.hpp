// SPDX-License-Identifier: Apache-2.0
//
// From the operations of a StepProgram to the nodes of a Swapper, and back to what was measured.
//
// Ownership    Nothing is kept; nodes hold addresses inside the residence's arena.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "engine/residence.hpp"
#include "engine/trace.hpp"
#include "swap/swapper.hpp"

namespace fathom::engine {

std::vector<swap::Node> transfer_nodes(const Plan& plan, const Residence& residence,
                                       const StepProgram& program);

// Payload bytes of the transfers of the current pass that are due (all, once it is computed:
// another thread may be about to submit the last). `swapper` may be null: none.
StepBytes transferred(const StepProgram& program, const swap::Swapper* swapper);

// The transfers of a program as they complete, on their way to a trace. Writes may complete long
// after the pass that asked for them, and reads run ahead of theirs: each is added with the step
// of its own pass.
class TransferLog {
 public:
  // Outlives the swapper, whose first pass has not begun.
  void attach(swap::Swapper& swapper);
  // The swapper's next pass is the one of `step`.
  void begin_pass(std::int64_t step) { steps_.push_back(step); }
  // Gives away what has completed of the passes that have begun.
  void move_to(Trace& trace, const StepProgram& program, const std::vector<std::string>& names);

 private:
  struct Entry {
    std::uint64_t pass;
    OpId op;
    swap::TransferTimes times;
  };
  std::mutex mutex_;
  std::vector<Entry> entries_;
  std::vector<std::int64_t> steps_;  // of each pass that has begun
};

std::vector<std::string> unit_names(const models::ModelSpec& spec);

// "model.layers.3.mlp.up_proj.weight[1234]": the parameter at an element of a unit's flat run.
std::string parameter_at(const Plan& plan, std::uint32_t unit, std::uint64_t element);

}  // namespace fathom::engine
