// SPDX-License-Identifier: Apache-2.0
//
// What a plan means over time, and what would help, for people and for programs. Pure.
//
// Keys of the JSON are a contract: tokens_per_second, resources, io_seconds, tokens_to_hide_io,
// written, help. They are added to those of plan_json and repeat none of its keys at any depth, so
// that a search for "seconds" or "bytes" finds the plan's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/plan/advice.hpp"
#include "engine/plan/outlook.hpp"

namespace fathom::engine {

// Everything that `fathom plan` says beyond the plan itself.
struct Forecast {
  Outlook outlook;
  std::optional<Wear> wear;  // when a rating was given
  std::uint64_t steps = 0;   // of the run; 0: not known
  std::vector<Advice> help;
};

// `tbw`: bytes that each drive is rated for.
Forecast forecast(const Plan& plan, std::optional<double> tbw, std::uint64_t steps);

void add_forecast(nlohmann::json& plan_json, const Plan& plan, const Forecast& forecast);
std::string forecast_text(const Plan& plan, const Forecast& forecast);

}  // namespace fathom::engine
