// SPDX-License-Identifier: Apache-2.0
//
// From the operations of a StepProgram to the nodes of a Swapper, and back to what was measured.
//
// Ownership    Nothing is kept; nodes hold addresses inside the residence's arena.
#pragma once

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

// Adds the current pass's transfers to the trace.
void add_transfers(Trace& trace, const Plan& plan, const StepProgram& program,
                   const swap::Swapper& swapper, std::int64_t step);

std::vector<std::string> unit_names(const models::ModelSpec& spec);

// "model.layers.3.mlp.up_proj.weight[1234]": the parameter at an element of a unit's flat run.
std::string parameter_at(const Plan& plan, std::uint32_t unit, std::uint64_t element);

}  // namespace fathom::engine
