// SPDX-License-Identifier: Apache-2.0
//
// LearningRate: the rate of every optimizer update, by the published formulas. Pure.
//
// Purpose      The state of a schedule is one number, last_batch_iteration: -1 before the first
// update,
//              and one more after each update that was applied (a skipped one does not count). A
//              checkpoint stores that number and nothing else.
// Ownership    A value.
// Threads      Immutable.
//
//   LearningRate schedule(config.scheduler, config.optimizer.lr);
//   std::int64_t last = schedule.first_iteration();    // -1 for a new run
//   double lr = schedule.at(last);                     // of the update that comes next
//   ++last;                                            // when it was applied
#pragma once

#include <cstdint>

#include "config/config.hpp"

namespace fathom::config {

class LearningRate {
 public:
  LearningRate(const SchedulerConfig& config, double base_lr)
      : config_(config), base_lr_(base_lr) {}

  std::int64_t first_iteration() const { return config_.last_batch_iteration; }

  // The rate of the update that follows iteration `last_batch_iteration` (at least -1).
  double at(std::int64_t last_batch_iteration) const;

  // The rate of applied update `index`, counted from 0, of a run that started anew.
  double of_update(std::uint64_t index) const {
    return at(config_.last_batch_iteration + static_cast<std::int64_t>(index));
  }

 private:
  double warmup_share(double iteration) const;  // 0 … 1

  SchedulerConfig config_;
  double base_lr_;
};

}  // namespace fathom::config
