// SPDX-License-Identifier: Apache-2.0
#include "config/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/assert.hpp"

namespace fathom::config {

double LearningRate::warmup_share(double iteration) const {
  const auto steps = static_cast<double>(std::max<std::uint64_t>(2, config_.warmup_num_steps));
  if (iteration >= steps) return 1;
  return config_.log_warmup ? std::log(iteration + 1) / std::log(steps) : iteration / steps;
}

double LearningRate::at(std::int64_t last_batch_iteration) const {
  FATHOM_ASSERT(last_batch_iteration >= -1, "iterations count from -1");
  const auto i = static_cast<double>(last_batch_iteration);
  const auto total = static_cast<double>(config_.total_num_steps);
  // The file's warm-ups have at least two steps; Hugging Face's have what is asked for.
  const auto warmup = static_cast<double>(std::max<std::uint64_t>(2, config_.warmup_num_steps));
  const auto hf_warmup = static_cast<double>(config_.warmup_num_steps);
  const double done = i + 1;  // updates applied so far, Hugging Face's counter
  const double span = config_.warmup_max_lr - config_.warmup_min_lr;
  switch (config_.type) {
    case SchedulerType::constant: return base_lr_;
    case SchedulerType::warmup:
      if (i < 0) return config_.warmup_min_lr;
      return config_.warmup_min_lr + warmup_share(i) * span;
    case SchedulerType::warmup_decay: {
      if (i < 0) return config_.warmup_min_lr;
      const double share =
          i < warmup ? warmup_share(i) : std::max(0.0, (total - i) / std::max(1.0, total - warmup));
      return config_.warmup_min_lr + share * span;
    }
    case SchedulerType::warmup_cosine: {
      if (i < 0) return 0;
      if (i < warmup)
        return base_lr_ *
               (config_.warmup_min_ratio + warmup_share(i) * (1 - config_.warmup_min_ratio));
      const double progress = std::min(1.0, (i - warmup + 1) / std::max(1.0, total - warmup));
      const double cosine = (1 + std::cos(std::numbers::pi * progress)) / 2;
      return base_lr_ * (config_.cos_min_ratio + (1 - config_.cos_min_ratio) * cosine);
    }
    case SchedulerType::range_test: {
      double x = (i + 1) / static_cast<double>(config_.range_step_size);
      if (config_.range_staircase) x = std::floor(x);
      return config_.range_min_lr * (1 + config_.range_step_rate * x);
    }
    case SchedulerType::hf_constant_with_warmup:
      return done < hf_warmup ? base_lr_ * (done / std::max(1.0, hf_warmup)) : base_lr_;
    case SchedulerType::hf_linear:
      if (done < hf_warmup) return base_lr_ * (done / std::max(1.0, hf_warmup));
      return base_lr_ * std::max(0.0, (total - done) / std::max(1.0, total - hf_warmup));
    case SchedulerType::hf_cosine: {
      if (done < hf_warmup) return base_lr_ * (done / std::max(1.0, hf_warmup));
      const double progress = (done - hf_warmup) / std::max(1.0, total - hf_warmup);
      return base_lr_ * std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * progress)));
    }
  }
  FATHOM_ASSERT(false, "a schedule without a formula");
  return 0;
}

}  // namespace fathom::config
