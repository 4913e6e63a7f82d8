// SPDX-License-Identifier: Apache-2.0
//
// LearningRate: rate and momentum of every optimizer update, by the published formulas. Pure.
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
#include <optional>

#include "config/config.hpp"

namespace fathom::config {

struct Betas {
  double first = 0, second = 0;
};

class LearningRate {
 public:
  LearningRate(const SchedulerConfig& config, double base_lr)
      : config_(config), base_lr_(base_lr) {}

  std::int64_t first_iteration() const { return config_.last_batch_iteration; }

  // The rate of the update that follows iteration `last_batch_iteration` (at least -1).
  double at(std::int64_t last_batch_iteration) const;

  // What a schedule that cycles momentum makes of the optimizer's betas; nothing: they stay as they
  // are. The first never reaches 1, whatever a decay of the momentum asks for.
  std::optional<Betas> betas_at(std::int64_t last_batch_iteration) const;

  // The rate of applied update `index`, counted from 0, of a run that started anew.
  double of_update(std::uint64_t index) const {
    return at(config_.last_batch_iteration + static_cast<std::int64_t>(index));
  }

 private:
  double warmup_share(double iteration) const;  // 0 … 1
  double hugging_face(double done) const;       // share of the base rate after `done` updates
  double cycle_position(std::int64_t iteration) const;  // 0 at both ends of a cycle, 1 at its peak

  SchedulerConfig config_;
  double base_lr_;
};

}  // namespace fathom::config
