// SPDX-License-Identifier: Apache-2.0
//
// inspect: what a checkpoint holds, and whether every block of it is what was written.
//
// Threads      One call at a time.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.hpp"

namespace fathom::engine {

struct Inspection {
  nlohmann::json
      document;  // step, units, parameters, extents [{path, offset, bytes, unit, section, live}]
  std::vector<std::string> damage;  // one message per damaged section; empty without `verify`
};

Result<Inspection> inspect(const std::string& path, bool verify);

}  // namespace fathom::engine
