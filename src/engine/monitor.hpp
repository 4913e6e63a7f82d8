// SPDX-License-Identifier: Apache-2.0
//
// Monitors: the csv_monitor and tensorboard blocks of the configuration.
//
// Purpose      A point (tag, step, value) per quantity, with DeepSpeed's tags: Train/Samples/… over
//              the samples seen so far. CSV: OUTPUT/JOB/TAG.csv, slashes as underscores, with the
//              header `step,NAME`; a run that goes on appends. TensorBoard: a new events file per
//              process in OUTPUT/JOB (event_file.hpp).
// Failure      A monitor that cannot be opened is an Error; one that cannot be written to any more
//              is said once and left out.
// Threads      The engine's thread.
//
//   FATHOM_ASSIGN(Monitors monitors, Monitors::open(config, /*append=*/resumed));
//   monitors.add(samples, {{"Train/Samples/train_loss", loss}});
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/config.hpp"

namespace fathom::engine {

struct MonitorPoint {
  std::string tag;
  double value = 0;
};

class Monitor {
 public:
  virtual ~Monitor() = default;
  virtual Result<void> add(std::int64_t step, std::span<const MonitorPoint> points) = 0;
};

class Monitors {
 public:
  // Creates the directories of the monitors that are on. `append`: CSV files keep their lines.
  static Result<Monitors> open(const config::Config& config, bool append);
  void add(std::int64_t step, const std::vector<MonitorPoint>& points);

 private:
  std::vector<std::unique_ptr<Monitor>> monitors_;
};

}  // namespace fathom::engine
