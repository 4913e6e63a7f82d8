// SPDX-License-Identifier: Apache-2.0
//
// train: a whole training run, from options to a committed checkpoint.
//
// Purpose      Prepares, loads or initialises or resumes, runs the steps, writes metrics, report
// and
//              trace, and leaves a checkpoint in --out. SIGINT or SIGTERM finishes the step under
//              way, commits and returns; a second one ends the process at once.
// Threads      One call at a time; installs signal handlers while it runs.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "engine/run.hpp"

namespace fathom::engine {

struct TrainSummary {
  nlohmann::json report;   // as written to the report file
  std::string checkpoint;  // directory of the committed step
  bool interrupted = false;
};

Result<TrainSummary> train(const TrainOptions& options);

}  // namespace fathom::engine
