// SPDX-License-Identifier: Apache-2.0
//
// LossScale: the factor that keeps fp16 gradients in range, fixed or found by trial. Pure.
//
// Purpose      The loss is multiplied by the scale before backward and the gradients are divided by
//              it in the update. An update whose gradients overflow is left out and lowers a
//              dynamic scale; a run of clean ones raises it. Exactly the published rule:
//                overflow  with hysteresis 1 or a remainder of 1: scale = max(scale / 2, min), and
//                          when it stands at the minimum already, training cannot go on;
//                          else one of the remainder is used up.
//                clean     consecutive_hysteresis refills the remainder; after each `window` clean
//                          iterations the scale doubles (and the remainder is refilled).
//              Without fp16 the scale is 1, always.
// Ownership    A value. Its state goes into checkpoints.
// Threads      One at a time.
//
//   LossScale scale(config.precision);
//   … train a step with scale.scale() …
//   if (!scale.update(overflowed)) … stop: the scale cannot be lowered any more
#pragma once

#include <cstdint>

#include "config/config.hpp"

namespace fathom::config {

struct LossScaleState {
  double scale = 1;
  std::int64_t iteration = 0;       // steps so far, left out ones too
  std::int64_t last_overflow = -1;  // iteration of the last overflow
  std::int64_t remainder = 0;       // overflows that are still tolerated before halving, plus one
  bool operator==(const LossScaleState&) const = default;
};

class LossScale {
 public:
  explicit LossScale(const PrecisionConfig& precision);

  double scale() const { return state_.scale; }
  bool is_dynamic() const { return dynamic_; }

  // After a step. False: it overflowed with the scale at its minimum.
  [[nodiscard]] bool update(bool overflowed);

  const LossScaleState& state() const { return state_; }
  // Goes on from a checkpoint's state. A static scale stays what the configuration says.
  void resume(const LossScaleState& state);

 private:
  LossScaleConfig config_;
  bool dynamic_;
  LossScaleState state_;
};

}  // namespace fathom::config
