// SPDX-License-Identifier: Apache-2.0
//
// One optimizer step's inputs, with every class of fp32 pattern mixed in, and the reference's
// results.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "adam_reference.hpp"
#include "data.hpp"

namespace fathom::kernels {

inline AdamHyper usual() {
  return {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};
}

// Inputs and, for one AdamStep, outputs of the reference. Special patterns are mixed in.
struct Problem {
  std::vector<float> x, m, v, grad;
  std::vector<std::uint16_t> grad_bf16;

  explicit Problem(std::size_t count)
      : x(count), m(count), v(count), grad(count), grad_bf16(count) {
    const CounterRandom random(11, "adamw");
    const auto& special = special_patterns();
    for (std::size_t i = 0; i < count; ++i) {
      const auto r = random.block(i);
      // Exponents around those of real training, signs and fractions from everywhere.
      const auto value = [](std::uint32_t bits, std::uint32_t exponent, std::uint32_t spread) {
        return float_of((bits & 0x807fffffU) | ((exponent + (bits >> 23) % spread) << 23));
      };
      x[i] = value(r[0], 115, 16);
      m[i] = value(r[1], 100, 20);
      v[i] = std::fabs(value(r[2], 80, 30));
      grad[i] = value(r[3], 100, 24);
      const auto pick = [&](std::uint32_t bits) {
        return float_of(special[bits % special.size()]);
      };
      if (i % 7 == 3) x[i] = pick(r[3] >> 3);
      if (i % 11 == 5) m[i] = pick(r[2] >> 3);
      if (i % 13 == 1) v[i] = pick(r[0] >> 3);
      if (i % 17 == 2) grad[i] = pick(r[1] >> 3);
      grad_bf16[i] = static_cast<std::uint16_t>(bits_of(grad[i]) >> 16);
    }
  }
  std::size_t size() const { return x.size(); }
  float grad_at(std::size_t i, bool bf16) const {
    return bf16 ? float_of(static_cast<std::uint32_t>(grad_bf16[i]) << 16) : grad[i];
  }
};

inline std::vector<AdamElement> solve(const Problem& problem, const AdamStep& step, bool bf16) {
  std::vector<AdamElement> solved(problem.size());
  for (std::size_t i = 0; i < problem.size(); ++i)
    solved[i] =
        reference_step(step, {problem.x[i], problem.m[i], problem.v[i]}, problem.grad_at(i, bf16));
  return solved;
}

}  // namespace fathom::kernels
