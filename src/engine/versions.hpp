// SPDX-License-Identifier: Apache-2.0
//
// Versions of Fathom and of what it runs on, for reports and `fathom env`.
#pragma once

#include <nlohmann/json.hpp>

namespace fathom::engine {

nlohmann::json versions();

}  // namespace fathom::engine
