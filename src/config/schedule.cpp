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

// Hugging Face counts the updates applied so far, and its warm-ups have as many steps as asked for.
double LearningRate::hugging_face(double done) const {
  const auto total = static_cast<double>(config_.total_num_steps);
  const auto warmup = static_cast<double>(config_.warmup_num_steps);
  if (done < warmup) return done / std::max(1.0, warmup);
  const double span = std::max(1.0, total - warmup);
  const double progress = (done - warmup) / span;
  switch (config_.type) {
    case SchedulerType::hf_linear: return std::max(0.0, (total - done) / span);
    case SchedulerType::hf_cosine:
      return std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * progress)));
    case SchedulerType::hf_cosine_with_restarts:  // with its default of one cycle
      if (progress >= 1) return 0;
      return std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * std::fmod(progress, 1.0))));
    case SchedulerType::hf_polynomial: {  // of power 1, down to a rate of 1e-7: its defaults
      constexpr double end = 1e-7;
      if (done > total || progress >= 1) return end / base_lr_;
      return ((base_lr_ - end) * (1 - progress) + end) / base_lr_;
    }
    default: return 1;
  }
}

// Up in the first part, down in the second, in a line or in stairs that begin on whole updates.
double LearningRate::cycle_position(std::int64_t iteration) const {
  const std::uint64_t first = config_.cycle_first_steps, second = config_.cycle_second_steps;
  const std::uint64_t offset = static_cast<std::uint64_t>(iteration + 1) % (first + second);
  const bool rising = offset <= first;
  const std::uint64_t part = rising ? offset : first + second - offset;
  const std::uint64_t size = rising ? first : second;
  const std::uint64_t stairs = rising ? config_.cycle_first_stairs : config_.cycle_second_stairs;
  if (stairs == 0) return static_cast<double>(part) / static_cast<double>(size);
  return static_cast<double>(part * stairs / size) / static_cast<double>(stairs);
}

std::optional<Betas> LearningRate::betas_at(std::int64_t last_batch_iteration) const {
  FATHOM_ASSERT(last_batch_iteration >= -1, "iterations count from -1");
  constexpr double second_beta = 0.99;  // the schedule's own
  constexpr double largest = 1 - 1e-6;
  if (config_.type != SchedulerType::one_cycle || !config_.cycle_momentum) return std::nullopt;
  const auto length =
      static_cast<std::int64_t>(config_.cycle_first_steps + config_.cycle_second_steps);
  double momentum = config_.cycle_max_mom;
  if (last_batch_iteration < length) {
    momentum -=
        (config_.cycle_max_mom - config_.cycle_min_mom) * cycle_position(last_batch_iteration);
  } else if (config_.decay_step_size != 0) {
    const double decayed = static_cast<double>(last_batch_iteration - length + 1) /
                           static_cast<double>(config_.decay_step_size);
    momentum *= 1 + config_.decay_mom_rate * decayed;
  }
  return Betas{std::min(momentum, largest), second_beta};
}

double LearningRate::at(std::int64_t last_batch_iteration) const {
  FATHOM_ASSERT(last_batch_iteration >= -1, "iterations count from -1");
  const auto i = static_cast<double>(last_batch_iteration);
  const auto total = static_cast<double>(config_.total_num_steps);
  // The file's warm-ups have at least two steps.
  const auto warmup = static_cast<double>(std::max<std::uint64_t>(2, config_.warmup_num_steps));
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
    case SchedulerType::one_cycle: {
      const std::uint64_t length = config_.cycle_first_steps + config_.cycle_second_steps;
      if (last_batch_iteration < static_cast<std::int64_t>(length))
        return config_.cycle_min_lr +
               (config_.cycle_max_lr - config_.cycle_min_lr) * cycle_position(last_batch_iteration);
      if (config_.decay_step_size == 0) return config_.cycle_min_lr;
      const double decayed =
          (i - static_cast<double>(length) + 1) / static_cast<double>(config_.decay_step_size);
      return config_.cycle_min_lr / (1 + config_.decay_lr_rate * decayed);
    }
    case SchedulerType::hf_constant_with_warmup:
    case SchedulerType::hf_linear:
    case SchedulerType::hf_cosine:
    case SchedulerType::hf_cosine_with_restarts:
    case SchedulerType::hf_polynomial: return base_lr_ * hugging_face(i + 1);
  }
  FATHOM_ASSERT(false, "a schedule without a formula");
  return 0;
}

}  // namespace fathom::config
