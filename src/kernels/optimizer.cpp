// SPDX-License-Identifier: Apache-2.0
#include "kernels/optimizer.hpp"

#include <cmath>

#include "base/assert.hpp"

namespace fathom::kernels {
namespace {

float rounded(double value) { return static_cast<float>(value); }

struct MakeStep {
  std::int64_t t;
  double grad_scale;
  bool decay;

  double decay_of(double weight_decay) const { return decay ? weight_decay : 0; }

  UpdateStep operator()(const AdamHyper& h) const { return adam_step(h, t, grad_scale, decay); }

  UpdateStep operator()(const LionHyper& h) const {
    return LionStep{.grad_scale = rounded(grad_scale),
                    .beta1 = rounded(h.beta1),
                    .one_minus_beta1 = rounded(1 - h.beta1),
                    .beta2 = rounded(h.beta2),
                    .one_minus_beta2 = rounded(1 - h.beta2),
                    .lr = rounded(h.lr),
                    .lr_decay = rounded(h.lr * decay_of(h.weight_decay))};
  }

  UpdateStep operator()(const SgdHyper& h) const {
    if (h.momentum == 0)
      return SgdStep{.grad_scale = rounded(grad_scale),
                     .lr = rounded(h.lr),
                     .l2_decay = rounded(decay_of(h.weight_decay))};
    return MomentumStep{.grad_scale = rounded(grad_scale),
                        .momentum = rounded(h.momentum),
                        // The first gradient enters whole: m is zero before it.
                        .one_minus_dampening = rounded(t == 1 ? 1 : 1 - h.dampening),
                        .lr = rounded(h.lr),
                        .l2_decay = rounded(decay_of(h.weight_decay)),
                        .nesterov = h.nesterov};
  }

  UpdateStep operator()(const AdagradHyper& h) const {
    return AdagradStep{.grad_scale = rounded(grad_scale),
                       .lr = rounded(h.lr),
                       .eps = rounded(h.eps),
                       .l2_decay = rounded(decay_of(h.weight_decay))};
  }

  UpdateStep operator()(const LambHyper& h) const {
    const auto steps = static_cast<double>(t);
    const double bias1 = h.bias_correction ? 1 - std::pow(h.beta1, steps) : 1;
    const double bias2 = h.bias_correction ? 1 - std::pow(h.beta2, steps) : 1;
    return LambStep{.grad_scale = rounded(grad_scale),
                    .beta1 = rounded(h.beta1),
                    .one_minus_beta1 = rounded(1 - h.beta1),
                    .beta2 = rounded(h.beta2),
                    .one_minus_beta2 = rounded(1 - h.beta2),
                    .eps = rounded(h.eps),
                    .decay = rounded(decay_of(h.weight_decay)),
                    .eps_inside_sqrt = h.eps_inside_sqrt,
                    .rate = h.lr * std::sqrt(bias2) / bias1,
                    .min_coeff = h.min_coeff,
                    .max_coeff = h.max_coeff};
  }
};

struct StatesOf {
  OptimizerStates operator()(const AdamHyper&) const { return {.m = true, .v = true}; }
  OptimizerStates operator()(const LionHyper&) const { return {.m = true, .v = false}; }
  OptimizerStates operator()(const SgdHyper& h) const { return {.m = h.momentum != 0, .v = false}; }
  OptimizerStates operator()(const AdagradHyper&) const { return {.m = false, .v = true}; }
  OptimizerStates operator()(const LambHyper&) const { return {.m = true, .v = true}; }
};

}  // namespace

OptimizerStates states_of(const Hyper& hyper) { return std::visit(StatesOf(), hyper); }

void set_learning_rate(Hyper& hyper, double lr) {
  std::visit([lr](auto& h) { h.lr = lr; }, hyper);
}

double learning_rate(const Hyper& hyper) {
  return std::visit([](const auto& h) { return h.lr; }, hyper);
}

void set_betas(Hyper& hyper, double beta1, double beta2) {
  std::visit(
      [&](auto& h) {
        if constexpr (requires { h.beta1; }) {
          h.beta1 = beta1;
          h.beta2 = beta2;
        }
      },
      hyper);
}

UpdateStep make_step(const Hyper& hyper, std::int64_t step, double grad_scale, bool decay) {
  FATHOM_ASSERT(step >= 1, "optimizer steps count from 1");
  return std::visit(MakeStep{step, grad_scale, decay}, hyper);
}

}  // namespace fathom::kernels
