// SPDX-License-Identifier: Apache-2.0
//
// The fp32 update against torch's own fused AdamW and Adam on the CPU. A program of its own,
// because it needs LibTorch.
//
// The bits are not torch's, for three reasons, each a rounding or two: torch computes m as a fused
// lerp, m + (1 - beta1) (g - m), decays x by a product with 1 - lr decay, and negates the step size
// before it multiplies. Sums cancel, so differences are counted in roundings, 2^-24 of the sum of
// the magnitudes of the terms; half a unit in the last place is one rounding of a number just above
// a power of two.
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "data.hpp"
#include "kernels/adamw.hpp"

namespace fathom::kernels {
namespace {

at::Tensor view(std::vector<float>& values) {
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kFloat);
}

const double rounding = std::ldexp(1.0, -24);

struct Bounds {
  double x = 0, m = 0, v = 0;  // in roundings
};

// One step from the same state, so that differences do not add up; then torch's state is adopted.
Bounds largest_differences(const AdamHyper& hyper, std::int64_t steps) {
  constexpr std::size_t count = 20'011;
  const at::NoGradGuard no_grad;
  const CounterRandom random(21, "torch");
  std::vector<float> x(count), m(count), v(count), grad(count);
  for (std::size_t i = 0; i < count; ++i) x[i] = 0.02F * random.normal(i);
  Bounds bounds;
  for (std::int64_t t = 1; t <= steps; ++t) {
    for (std::size_t i = 0; i < count; ++i)
      // The weight's sign: Adam's L2 term then adds to g and the cancellation is not in g.
      grad[i] =
          std::copysign(0.001F * random.normal(static_cast<std::uint64_t>(t) * count + i), x[i]);
    std::vector<float> before_x = x, before_m = m, our_x = x, our_m = m, our_v = v;
    const AdamStep scalars = adam_step(hyper, t, 1, true);
    adamw_fp32(nullptr, scalars, our_x.data(), our_m.data(), our_v.data(), grad.data(), count);
    // torch counts the step itself before the call: state_steps holds t.
    const at::Tensor step = at::full({}, static_cast<double>(t), at::kFloat);
    if (hyper.decoupled) {
      at::_fused_adamw_({view(x)}, {view(grad)}, {view(m)}, {view(v)}, {}, {step}, hyper.lr,
                        hyper.beta1, hyper.beta2, hyper.weight_decay, hyper.eps, false, false);
    } else {
      at::_fused_adam_({view(x)}, {view(grad)}, {view(m)}, {view(v)}, {}, {step}, hyper.lr,
                       hyper.beta1, hyper.beta2, hyper.weight_decay, hyper.eps, false, false);
    }
    for (std::size_t i = 0; i < count; ++i) {
      const double g =
          std::fabs(grad[i]) + (hyper.decoupled ? 0 : hyper.weight_decay * std::fabs(before_x[i]));
      const double m_terms = hyper.beta1 * std::fabs(before_m[i]) + (1 - hyper.beta1) * g;
      // An m that cancels keeps the error of its terms, and hands it on to x.
      const double denominator = std::sqrt(v[i]) / scalars.sqrt_bias2 + scalars.eps;
      const double x_terms = std::fabs(before_x[i]) + scalars.step_size * m_terms / denominator;
      const auto apart = [](float a, float b) {
        return std::fabs(static_cast<double>(a) - static_cast<double>(b));
      };
      bounds.m = std::fmax(bounds.m, apart(our_m[i], m[i]) / (rounding * m_terms));
      bounds.v = std::fmax(bounds.v, apart(our_v[i], v[i]) / (rounding * v[i]));
      bounds.x = std::fmax(bounds.x, apart(our_x[i], x[i]) / (rounding * x_terms));
    }
  }
  return bounds;
}

void report(const Bounds& bounds) {
  testing::Test::RecordProperty("x_roundings", std::to_string(bounds.x));
  testing::Test::RecordProperty("m_roundings", std::to_string(bounds.m));
  testing::Test::RecordProperty("v_roundings", std::to_string(bounds.v));
}

// Measured with torch 2.11 (AVX2 and up): x 3.9, m 2.5, v 2.0 roundings.
TEST(TorchAdamW, AgreesWithinAFewRoundingsAStep) {
  const Bounds bounds = largest_differences(
      {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1}, 30);
  report(bounds);
  EXPECT_LE(bounds.x, 5);
  EXPECT_LE(bounds.m, 3);
  EXPECT_LE(bounds.v, 3);
}

// Measured: x 6.2, m 3.8, v 5.9; the rounded L2 sum goes into everything.
TEST(TorchAdam, AgreesWithinAFewRoundingsAStep) {
  const Bounds bounds = largest_differences({.lr = 1e-3,
                                             .beta1 = 0.9,
                                             .beta2 = 0.999,
                                             .eps = 1e-8,
                                             .weight_decay = 0.01,
                                             .decoupled = false},
                                            30);
  report(bounds);
  EXPECT_LE(bounds.x, 8);
  EXPECT_LE(bounds.m, 5);
  EXPECT_LE(bounds.v, 8);
}

}  // namespace
}  // namespace fathom::kernels
