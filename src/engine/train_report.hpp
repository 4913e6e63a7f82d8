// SPDX-License-Identifier: Apache-2.0
//
// The report of a training run: plan, totals, versions and everything else to repeat it, as JSON.
//
// Ownership    Borrows all it reads, for the call.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "engine/checkpoint_series.hpp"
#include "engine/evaluations.hpp"
#include "engine/metrics.hpp"
#include "engine/run_state.hpp"

namespace fathom::engine {

// What the steps of one process add up to.
struct RunTotals {
  Progress progress;            // at the end
  std::int64_t first_step = 0;  // the step that it went on from
  std::optional<double> first_loss;
  double last_loss = 0, seconds = 0, stalled = 0, loss_scale = 1;
  StepBytes planned;
  std::int64_t skipped = 0;
  std::uint64_t peak_device = 0;
  bool interrupted = false, stopped_early = false;

  void add(const StepMetrics& metrics);
};

struct ReportSources {
  const TrainingSetup& setup;
  RunState& state;
  const RunTotals& totals;
  const Evaluations& evaluations;
  const CheckpointSeries& series;
  std::string checkpoint, metrics, trace;
};

nlohmann::json train_report(const ReportSources& from);

}  // namespace fathom::engine
