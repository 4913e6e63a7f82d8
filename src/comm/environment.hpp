// SPDX-License-Identifier: Apache-2.0
//
// Environment: the variables of a process as a value, so that what reads them is pure.
//
//   const Environment variables = process_environment();
//   if (const std::string* rank = find(variables, "RANK")) …
#pragma once

#include <map>
#include <string>

namespace fathom::comm {

using Environment = std::map<std::string, std::string, std::less<>>;

Environment process_environment();

// Null when unset or empty.
const std::string* find(const Environment& variables, std::string_view name);

}  // namespace fathom::comm
