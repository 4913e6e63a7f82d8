// SPDX-License-Identifier: Apache-2.0
//
// Conversion of one node to the type and range of its row.
//
//   std::optional<nlohmann::json> value = convert(*key, node, report);
//   // nothing: a problem was reported
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "config/document.hpp"
#include "config/key.hpp"
#include "config/report.hpp"

namespace fathom::config {

// `node` is neither null nor an object of rows. Repairs (strings that hold numbers, fractions of
// elements) are notes, anything else that does not fit is a problem.
std::optional<nlohmann::json> convert(const Key& key, const Node& node, Report& report);

// The bounds of the row, for values that come from elsewhere (flags).
bool in_range(const Key& key, double value);
std::string range_text(const Key& key);  // "at least 0 and below 1"; empty: no bounds

}  // namespace fathom::config
