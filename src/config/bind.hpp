// SPDX-License-Identifier: Apache-2.0
//
// Binding: the tree against the table. Every row gets a value; what the table does not know is a
// problem with the nearest name; keys without effect become notes, keys that are not offered
// problems.
//
//   Values values = bind(document.root, report);
#pragma once

#include "config/document.hpp"
#include "config/report.hpp"
#include "config/values.hpp"

namespace fathom::config {

// `root` has today's names only (see rewrite.hpp).
Values bind(const Node& root, Report& report);

}  // namespace fathom::config
