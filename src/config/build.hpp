// SPDX-License-Identifier: Apache-2.0
//
// Building: checked values to the typed Config, and to the resolved JSON.
//
//   Config config = build_config(values, sources);
//   nlohmann::json resolved = resolved_json(values, config, sources);
#pragma once

#include "config/config.hpp"
#include "config/values.hpp"

namespace fathom::config {

// Every value is usable: no problem was reported.
Config build_config(const Values& values, const Sources& sources);

nlohmann::json resolved_json(const Values& values, const Config& config, const Sources& sources);

}  // namespace fathom::config
