// SPDX-License-Identifier: Apache-2.0
#include "config/loss_scale.hpp"

#include <algorithm>
#include <cmath>

namespace fathom::config {

LossScale::LossScale(const PrecisionConfig& precision)
    : config_(precision.loss_scale),
      dynamic_(precision.compute == Precision::fp16 && precision.loss_scale.loss_scale == 0) {
  state_.remainder = static_cast<std::int64_t>(config_.hysteresis);
  if (precision.compute != Precision::fp16) return;
  state_.scale = dynamic_ ? std::ldexp(1.0, static_cast<int>(config_.initial_scale_power))
                          : config_.loss_scale;
}

bool LossScale::update(bool overflowed) {
  const std::int64_t now = state_.iteration++;
  if (!dynamic_) return true;
  const auto hysteresis = static_cast<std::int64_t>(config_.hysteresis);
  if (overflowed) {
    const auto least = static_cast<double>(config_.min_loss_scale);
    const bool at_floor = state_.scale == least;
    state_.last_overflow = now;
    if (hysteresis != 1 && state_.remainder != 1) {
      --state_.remainder;
      return true;
    }
    state_.scale = std::max(state_.scale / 2, least);
    return !at_floor;
  }
  if (config_.consecutive_hysteresis) state_.remainder = hysteresis;
  const std::int64_t stable = now - state_.last_overflow - 1;
  if (stable > 0 && stable % static_cast<std::int64_t>(config_.window) == 0) {
    state_.remainder = hysteresis;
    state_.scale *= 2;
  }
  return true;
}

void LossScale::resume(const LossScaleState& state) {
  const double fixed = state_.scale;
  state_ = state;
  if (!dynamic_) state_.scale = fixed;
}

}  // namespace fathom::config
