// SPDX-License-Identifier: Apache-2.0
//
// Cross-checks: combinations of keys that are each fine and together are not.
//
//   check_combinations(values, sources, report);
#pragma once

#include "config/report.hpp"
#include "config/sources.hpp"
#include "config/values.hpp"

namespace fathom::config {

// Reads resolved values and changes none.
void check_combinations(const Values& values, const Sources& sources, Report& report);

}  // namespace fathom::config
