// SPDX-License-Identifier: Apache-2.0
//
// Leftover jobs: the job directories under a path or of a run, and the removal of dead ones.
//
// Threads      One call at a time.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.hpp"

namespace fathom::engine {

struct LeftoverJobs {
  nlohmann::json document;            // path, jobs [{path, kind, why, process, removed}]
  std::vector<std::string> failures;  // what could not be removed, and why
};

// `path`: a directory that stores lie in (an nvme_path), or a run's --out, which stands for the
// directories of its store. `remove`: what is dead and referred to by no run goes.
Result<LeftoverJobs> leftover_jobs(const std::string& path, bool remove);

// Whether `path` is one that leftover_jobs() is for: stores lie in it.
bool holds_jobs(const std::string& path);

}  // namespace fathom::engine
