// SPDX-License-Identifier: Apache-2.0
//
// Adam for one element, written from the formula in plain scalar code, apart from the kernels: the
// fp32 version that must agree in every bit, and one in long double that says what is meant.
#pragma once

#include <cmath>
#include <cstdint>

#include "data.hpp"
#include "kernels/adamw.hpp"

namespace fathom::kernels {

struct AdamElement {
  float x = 0, m = 0, v = 0;
};

inline float quiet(float value) { return std::isnan(value) ? float_of(0x7fc00000) : value; }

inline AdamElement reference_step(const AdamStep& s, AdamElement e, float grad) {
  float g = grad * s.grad_scale;
  if (s.l2_decay != 0) {
    const float pull = s.l2_decay * e.x;
    g = g + pull;
  }
  if (s.lr_decay != 0) {
    const float shrink = s.lr_decay * e.x;
    e.x = e.x - shrink;
  }
  const float old_m = s.beta1 * e.m, new_m = s.one_minus_beta1 * g;
  e.m = old_m + new_m;
  const float old_v = s.beta2 * e.v, once = s.one_minus_beta2 * g, new_v = once * g;
  e.v = old_v + new_v;
  const float root = std::sqrt(e.v), corrected = root / s.sqrt_bias2,
              denominator = corrected + s.eps;
  const float numerator = s.step_size * e.m, change = numerator / denominator;
  e.x = e.x - change;
  return {quiet(e.x), quiet(e.m), quiet(e.v)};
}

// The split, by arithmetic on wider integers: the nearest multiple of 2^16, ties up, and what is
// left.
struct SplitElement {
  std::uint16_t weight = 0, low = 0;
};

inline SplitElement reference_split(float value) {
  const std::uint64_t x = bits_of(value);
  const std::uint64_t low = x % 65536;
  const std::uint64_t weight = (x / 65536 + (low >= 32768 ? 1 : 0)) % 65536;
  return {static_cast<std::uint16_t>(weight), static_cast<std::uint16_t>(low)};
}

inline float reference_join(SplitElement s) {
  const std::uint64_t high = (65536ULL + s.weight - (s.low >= 32768 ? 1 : 0)) % 65536;
  return float_of(static_cast<std::uint32_t>(high * 65536 + s.low));
}

// The textbook formula, nothing rounded to fp32.
class ExactAdam {
 public:
  explicit ExactAdam(const AdamHyper& hyper) : hyper_(hyper) {}
  long double x = 0, m = 0, v = 0;

  void step(long double g) {
    const long double b1 = hyper_.beta1, b2 = hyper_.beta2, lr = hyper_.lr,
                      decay = hyper_.weight_decay;
    ++t_;
    if (!hyper_.decoupled) g += decay * x;
    if (hyper_.decoupled) x -= lr * decay * x;
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    const long double c1 =
        hyper_.bias_correction ? 1 - std::pow(b1, static_cast<long double>(t_)) : 1;
    const long double c2 =
        hyper_.bias_correction ? 1 - std::pow(b2, static_cast<long double>(t_)) : 1;
    x -= lr * (m / c1) / (std::sqrt(v / c2) + static_cast<long double>(hyper_.eps));
  }

 private:
  AdamHyper hyper_;
  int t_ = 0;
};

}  // namespace fathom::kernels
