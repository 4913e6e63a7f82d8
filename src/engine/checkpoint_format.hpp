// SPDX-License-Identifier: Apache-2.0
//
// The names of the checkpoint format's files, and what is written from a plan. See
// docs/checkpoint-format.md.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/manifest.hpp"
#include "engine/plan/plan.hpp"

namespace fathom::engine {

inline constexpr const char* manifest_file_name = "manifest.json";
inline constexpr const char* state_file_name = "state-0.bin";
inline constexpr const char* latest_file_name = "latest";
inline constexpr const char* best_file_name = "best";

// The units and their parameters, as manifests and a durable store's description have them.
nlohmann::json describe_units(const Plan& plan);

}  // namespace fathom::engine
