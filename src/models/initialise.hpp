// SPDX-License-Identifier: Apache-2.0
//
// fill: initial values of any slice of a parameter.
//
// Purpose      Element i of a parameter depends on (seed, parameter name, i) alone, so a rank can
// make
//              its partition, chunk by chunk, and every partitioning gives the same model.
// Threads      Pure.
//
//   fill(parameter, seed, first_element, std::span(buffer, count));
#pragma once

#include <cstdint>
#include <span>

#include "models/spec.hpp"

namespace fathom::models {

void fill(const ParameterSpec& parameter, std::uint64_t seed, std::uint64_t first_element,
          std::span<float> out);

}  // namespace fathom::models
