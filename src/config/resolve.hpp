// SPDX-License-Identifier: Apache-2.0
//
// Resolving: `auto` and keys that are left out take their values from the Sources; a flag that
// contradicts the file is a problem, all of them in one line.
//
//   resolve(values, sources, report);
#pragma once

#include "config/report.hpp"
#include "config/sources.hpp"
#include "config/values.hpp"

namespace fathom::config {

// After it no value is automatic, unless a problem was reported. The batch triple is complete.
void resolve(Values& values, const Sources& sources, Report& report);

}  // namespace fathom::config
