// SPDX-License-Identifier: Apache-2.0
//
// Metrics: one JSON line per optimizer step, and the progress line for people.
//
// Purpose      The keys of the line are a contract. Loss has 9 significant digits, so that an fp32
// value
//              round-trips. A terminal gets one line that rewrites itself; a log file gets a line
//              now and then.
// Threads      One thread writes.
// Units        Bytes, seconds.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

#include "base/result.hpp"
#include "engine/plan/plan.hpp"

namespace fathom::engine {

struct StepMetrics {
  std::int64_t step = 0;  // from 1
  double loss = 0, lr = 0, grad_norm = 0, loss_scale = 1;
  bool skipped = false;
  std::uint64_t tokens = 0;                 // of this step
  double seconds = 0, stalled_seconds = 0;  // of it, waiting for the disk
  double lower_bound_seconds = 0;
  StepBytes bytes, planned;
  std::uint64_t peak_host = 0, peak_device = 0;
};

// An evaluation after a step.
struct EvalMetrics {
  std::int64_t step = 0;
  double loss = 0;           // mean over its predictions
  std::uint64_t tokens = 0;  // predictions
  double seconds = 0;
};

// `evaluation`: that after the step, or null.
std::string metrics_line(const StepMetrics& metrics, const EvalMetrics* evaluation = nullptr);
std::string evaluation_line(const EvalMetrics& metrics);

class MetricsFile {
 public:
  // Empty path: writes nothing. `append` keeps the lines of the run that is resumed.
  static Result<MetricsFile> open(const std::string& path, bool append);
  void add(const StepMetrics& metrics, const EvalMetrics* evaluation = nullptr);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::ofstream out_;
};

class ProgressLine {
 public:
  // `every`: without a terminal, a line each `every` steps (0: ten in all).
  ProgressLine(std::int64_t first_step, std::int64_t last_step, std::uint64_t every, bool quiet);
  ~ProgressLine();
  void update(const StepMetrics& metrics);
  void evaluated(const EvalMetrics& metrics, bool best);

 private:
  std::int64_t first_, last_;
  std::uint64_t every_;
  bool quiet_, terminal_, open_ = false;
  double begin_;
};

}  // namespace fathom::engine
