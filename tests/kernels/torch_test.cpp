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
#include <ATen/ops/_fused_adagrad.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "data.hpp"
#include "kernels/update.hpp"

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

// One step of SGD or Adagrad from the same state, as above; what is compared is x and the one
// state.
struct Compared {
  std::vector<float> x, state, grad;

  explicit Compared(std::size_t count) : x(count), state(count), grad(count) {
    const CounterRandom random(22, "torch");
    for (std::size_t i = 0; i < count; ++i) x[i] = 0.02F * random.normal(i);
  }
  void next_gradient(std::int64_t t) {
    const CounterRandom random(23, "gradient");
    for (std::size_t i = 0; i < grad.size(); ++i)
      // The weight's sign, so that the L2 term adds and nothing cancels in g.
      grad[i] = std::copysign(
          0.01F * random.normal(static_cast<std::uint64_t>(t) * grad.size() + i), x[i]);
  }
};

// The largest distance of two arrays, in roundings of `scale`.
double roundings_apart(const std::vector<float>& a, const std::vector<float>& b,
                       const std::vector<float>& scale) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    largest = std::fmax(largest, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])) /
                                     (rounding * std::fabs(static_cast<double>(scale[i]))));
  return largest;
}

TEST(TorchSgd, AgreesWithinAFewRoundingsAStep) {
  for (const SgdHyper hyper :
       {SgdHyper{.lr = 0.01, .weight_decay = 0.1},
        SgdHyper{.lr = 0.01, .momentum = 0.9, .weight_decay = 0.1},
        SgdHyper{.lr = 0.01, .momentum = 0.9, .dampening = 0.5, .weight_decay = 0.1},
        SgdHyper{.lr = 0.01, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true}}) {
    const at::NoGradGuard no_grad;
    Compared theirs(20'011);
    double x_apart = 0, m_apart = 0;
    for (std::int64_t t = 1; t <= 20; ++t) {
      theirs.next_gradient(t);
      Compared ours = theirs;
      const std::vector<float> before = theirs.x;
      update(nullptr, make_step(hyper, t, 1, true),
             {.master = MasterFormat::whole,
              .gradient = GradientFormat::fp32,
              .weight = ours.x.data(),
              .m = ours.state.data(),
              .grad = ours.grad.data()},
             ours.x.size());
      std::vector<at::Tensor> buffers;
      if (hyper.momentum != 0) buffers.push_back(view(theirs.state));
      at::_fused_sgd_({view(theirs.x)}, {view(theirs.grad)}, buffers, hyper.weight_decay,
                      hyper.momentum, hyper.lr, hyper.dampening, hyper.nesterov, false, t == 1);
      x_apart = std::fmax(x_apart, roundings_apart(ours.x, theirs.x, before));
      if (hyper.momentum != 0)
        m_apart = std::fmax(m_apart, roundings_apart(ours.state, theirs.state, theirs.state));
    }
    EXPECT_LE(x_apart, 4) << hyper.momentum << hyper.nesterov;
    EXPECT_LE(m_apart, 6) << hyper.momentum << hyper.nesterov;
  }
}

TEST(TorchAdagrad, AgreesWithinAFewRoundingsAStep) {
  const at::NoGradGuard no_grad;
  const AdagradHyper hyper{.lr = 1e-3, .eps = 1e-10, .weight_decay = 0.1};
  Compared theirs(20'011);
  for (std::int64_t t = 1; t <= 20; ++t) {
    theirs.next_gradient(t);
    Compared ours = theirs;
    const std::vector<float> before = theirs.x;
    update(nullptr, make_step(hyper, t, 1, true),
           {.master = MasterFormat::whole,
            .gradient = GradientFormat::fp32,
            .weight = ours.x.data(),
            .v = ours.state.data(),
            .grad = ours.grad.data()},
           ours.x.size());
    const at::Tensor step = at::full({}, static_cast<double>(t), at::kFloat);
    at::_fused_adagrad_({view(theirs.x)}, {view(theirs.grad)}, {view(theirs.state)}, {step},
                        hyper.lr, 0.0, hyper.weight_decay, hyper.eps, false);
    std::vector<float> scale(before);
    for (float& value : scale) value = std::fabs(value) + static_cast<float>(hyper.lr);
    EXPECT_LE(roundings_apart(ours.x, theirs.x, scale), 4) << t;
    EXPECT_LE(roundings_apart(ours.state, theirs.state, theirs.state), 6) << t;
  }
}

}  // namespace
}  // namespace fathom::kernels
