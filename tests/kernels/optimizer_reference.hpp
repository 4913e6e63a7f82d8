// SPDX-License-Identifier: Apache-2.0
//
// Every rule for one element, written from the formulas in plain scalar code, apart from the
// kernels: the fp32 version must agree in every bit, the long double one says what is meant.
#pragma once

#include <cmath>
#include <cstdint>
#include <variant>

#include "adam_reference.hpp"
#include "kernels/optimizer.hpp"

namespace fathom::kernels {

inline AdamElement reference_rule(const AdamStep& s, AdamElement e, float grad) {
  return reference_step(s, e, grad);
}

inline AdamElement reference_rule(const LionStep& s, AdamElement e, float grad) {
  const float g = grad * s.grad_scale;
  const float old_c = s.beta1 * e.m, new_c = s.one_minus_beta1 * g, c = old_c + new_c;
  if (s.lr_decay != 0) {
    const float shrink = s.lr_decay * e.x;
    e.x = e.x - shrink;
  }
  if (c > 0) e.x = e.x - s.lr;
  if (c < 0) e.x = e.x + s.lr;
  if (std::isnan(c)) e.x = c;
  const float old_m = s.beta2 * e.m, new_m = s.one_minus_beta2 * g;
  e.m = old_m + new_m;
  return {quiet(e.x), quiet(e.m), e.v};
}

inline AdamElement reference_rule(const SgdStep& s, AdamElement e, float grad) {
  float g = grad * s.grad_scale;
  if (s.l2_decay != 0) {
    const float pull = s.l2_decay * e.x;
    g = g + pull;
  }
  const float change = s.lr * g;
  return {quiet(e.x - change), e.m, e.v};
}

inline AdamElement reference_rule(const MomentumStep& s, AdamElement e, float grad) {
  float g = grad * s.grad_scale;
  if (s.l2_decay != 0) {
    const float pull = s.l2_decay * e.x;
    g = g + pull;
  }
  const float old_m = s.momentum * e.m, new_m = s.one_minus_dampening * g;
  e.m = old_m + new_m;
  float direction = e.m;
  if (s.nesterov) {
    const float ahead = s.momentum * e.m;
    direction = g + ahead;
  }
  const float change = s.lr * direction;
  return {quiet(e.x - change), quiet(e.m), e.v};
}

inline AdamElement reference_rule(const AdagradStep& s, AdamElement e, float grad) {
  float g = grad * s.grad_scale;
  if (s.l2_decay != 0) {
    const float pull = s.l2_decay * e.x;
    g = g + pull;
  }
  const float square = g * g;
  e.v = e.v + square;
  const float root = std::sqrt(e.v), denominator = root + s.eps;
  const float numerator = s.lr * g, change = numerator / denominator;
  return {quiet(e.x - change), e.m, quiet(e.v)};
}

inline AdamElement reference_rule(const LambStep&, AdamElement e, float) { return e; }

inline AdamElement reference_rule(const UpdateStep& step, AdamElement e, float grad) {
  return std::visit([&](const auto& s) { return reference_rule(s, e, grad); }, step);
}

// The textbook formulas of one element over many steps, nothing rounded to fp32.
class ExactOptimizer {
 public:
  explicit ExactOptimizer(const Hyper& hyper) : hyper_(hyper) {}
  long double x = 0, m = 0, v = 0;

  void step(long double g) {
    ++t_;
    std::visit([&](const auto& h) { apply(h, g); }, hyper_);
  }

 private:
  void apply(const AdamHyper&, long double) {}
  void apply(const LambHyper&, long double) {}
  void apply(const LionHyper& h, long double g) {
    const long double c = h.beta1 * m + (1 - static_cast<long double>(h.beta1)) * g;
    x -= static_cast<long double>(h.lr) * h.weight_decay * x;
    x -= h.lr * static_cast<long double>((c > 0) - (c < 0));
    m = h.beta2 * m + (1 - static_cast<long double>(h.beta2)) * g;
  }
  void apply(const SgdHyper& h, long double g) {
    g += h.weight_decay * x;
    if (h.momentum != 0) {
      m = t_ == 1 ? g : h.momentum * m + (1 - static_cast<long double>(h.dampening)) * g;
      g = h.nesterov ? g + h.momentum * m : m;
    }
    x -= h.lr * g;
  }
  void apply(const AdagradHyper& h, long double g) {
    g += h.weight_decay * x;
    v += g * g;
    x -= h.lr * g / (std::sqrt(v) + static_cast<long double>(h.eps));
  }

  Hyper hyper_;
  int t_ = 0;
};

}  // namespace fathom::kernels
