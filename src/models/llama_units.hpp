// SPDX-License-Identifier: Apache-2.0
//
// llama_units: the units and parameters of a Llama-family model, from its sizes and switches.
//
//   spec.units = llama_units(spec, initializer_range);
#pragma once

#include <vector>

#include "models/spec.hpp"

namespace fathom::models {

// In the order of the forward pass; names and shapes are those of the Hugging Face files.
std::vector<UnitSpec> llama_units(const ModelSpec& spec, double init_std);

}  // namespace fathom::models
