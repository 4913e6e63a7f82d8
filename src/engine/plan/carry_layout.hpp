// SPDX-License-Identifier: Apache-2.0
//
// CarryLayout: where the tensors that a unit hands on lie in its micro-batch buffer. Pure.
//
// Purpose      One buffer a unit and micro-batch holds what the unit hands on, whoever uses it: a
//              tensor that passes other units by is stored once. A tensor with one user gives its
//              place to its gradient on the way back; one with several has fp32 sums of their
//              gradients behind it.
// Units        Bytes.
#pragma once

#include <cstdint>

#include "engine/plan/plan.hpp"

namespace fathom::engine {

struct CarryPlace {
  std::uint64_t offset = 0, gradient = 0;  // in the buffer; `gradient` of shared tensors only
};

CarryPlace carry_place(const PlanInput& input, std::uint32_t carry);

// Of what unit `producer` hands on, for one micro-batch.
std::uint64_t carry_bytes(const PlanInput& input, std::uint32_t producer);

// The most that is alive at once of a micro-batch's tensors when nothing is kept for a backward
// pass.
std::uint64_t live_carry_bytes(const PlanInput& input);

}  // namespace fathom::engine
