// SPDX-License-Identifier: Apache-2.0
//
// Working memory of one layer of T5. Internal to activation_bytes.
#pragma once

#include <cstdint>

#include "models/spec.hpp"

namespace fathom::models {

ActivationBytes t5_layer_bytes(const ModelSpec& spec, const UnitSpec& unit, std::uint64_t batch,
                               const Lengths& lengths, std::uint64_t element_bytes);

}  // namespace fathom::models
