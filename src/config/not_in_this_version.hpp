// SPDX-License-Identifier: Apache-2.0
//
// What the configuration language has and this version of the engine does not do yet.
//
//   refuse_what_is_missing(values, report);
#pragma once

#include "config/report.hpp"
#include "config/values.hpp"

namespace fathom::config {

void refuse_what_is_missing(const Values& values, Report& report);

}  // namespace fathom::config
