// SPDX-License-Identifier: Apache-2.0
//
// Rewriting: old and misplaced names become today's before the table sees the tree.
//
// Purpose      `cpu_offload: true`, a bool for zero_optimization, an aio block nested in it and
// every
//              alias of the table are moved to their place, each with one note; a name that stands
//              beside the one that replaced it is a problem. Moved nodes keep their written path,
//              so that messages name what the user typed.
//
//   rewrite_old_names(document.root, report);
#pragma once

#include "config/document.hpp"
#include "config/report.hpp"

namespace fathom::config {

void rewrite_old_names(Node& root, Report& report);

}  // namespace fathom::config
