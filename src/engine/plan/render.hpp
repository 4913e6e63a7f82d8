// SPDX-License-Identifier: Apache-2.0
//
// A plan for people and for programs. Pure.
//
// Keys of the JSON are a contract (they do not change): parameters, seconds, lower_bound_seconds,
// bytes, peak, shortfalls.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/plan/plan.hpp"

namespace fathom::engine {

nlohmann::json bytes_json(const StepBytes& bytes);

// `shortfalls`: what this machine lacks for the plan, one sentence each.
nlohmann::json plan_json(const Plan& plan, const std::vector<std::string>& shortfalls);

// Some twenty lines: answer first, then placement, memory, bytes, time.
std::string plan_text(const Plan& plan, const std::vector<std::string>& shortfalls);

}  // namespace fathom::engine
