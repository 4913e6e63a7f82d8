// SPDX-License-Identifier: Apache-2.0
//
// Weight check: whether every weight is still a number.
//
// Purpose      When a gradient is not finite, what matters is whether the weights are: with them
//              gone no later step can be. Reads masters, never rounded weights: a NaN can round to
//              a zero there (kernels/adamw.hpp).
// Threads      One thread; the residence must not be running a program, no update may be pending.
#pragma once

#include <optional>
#include <string>

#include "engine/residence.hpp"

namespace fathom::engine {

// The first weight that is NaN or infinite, as "unit, tensor[element]".
Result<std::optional<std::string>> first_non_finite_weight(Residence& residence, ThreadPool& pool);

}  // namespace fathom::engine
