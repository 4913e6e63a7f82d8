// SPDX-License-Identifier: Apache-2.0
//
// The optimizers as scalars: what a configuration asks for, and what one step's kernel needs of it.
//
// Purpose      A Hyper is what the user sets, in double. make_step() turns it into the scalars of
//              one step, each rounded once to fp32, so that every kernel (SIMD, CUDA, reference)
//              starts from the same bits. Formulas, every operation rounding once:
//                Adam(W)  see adamw.hpp.
//                Lion     (Chen et al. 2023)  c = beta1 · m + (1 − beta1) · g
//                         x = x − lr · decay · x, then x = x − lr · sign(c), sign(0) = 0
//                         m = beta2 · m + (1 − beta2) · g
//                SGD      (torch's)  g += decay · x;  m = momentum · m + (1 − dampening) · g, of
//                         the first step m = g;  d = m, with nesterov g + momentum · m
//                         x = x − lr · d.  Without momentum: d = g, and there is no m.
//                Adagrad  (torch's)  g += decay · x;  v = v + g · g;  x = x − lr · g / (sqrt(v) +
//                         eps)
//                LAMB     see lamb.hpp.
// Threads      Values.
// Units        `step` counts from 1.
//
//   const Hyper hyper = LionHyper{.lr = 1e-4, .weight_decay = 0.1};
//   const UpdateStep step = make_step(hyper, t, clip / loss_scale, /*decay=*/true);
#pragma once

#include <cstdint>
#include <variant>

#include "kernels/adamw.hpp"

namespace fathom::kernels {

struct LionHyper {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, weight_decay = 0;
};
struct SgdHyper {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;  // needs momentum and no dampening, as torch's
};
struct AdagradHyper {
  double lr = 1e-2, eps = 1e-10, weight_decay = 0;
};
struct LambHyper {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  double max_coeff = 10, min_coeff = 0.01;
  bool bias_correction = true, eps_inside_sqrt = false;
};
using Hyper = std::variant<AdamHyper, LionHyper, SgdHyper, AdagradHyper, LambHyper>;

struct LionStep {
  float grad_scale = 1;
  float beta1 = 0, one_minus_beta1 = 0, beta2 = 0, one_minus_beta2 = 0;
  float lr = 0;
  float lr_decay = 0;  // lr · weight_decay
};
struct SgdStep {  // without momentum
  float grad_scale = 1;
  float lr = 0;
  float l2_decay = 0;
};
struct MomentumStep {
  float grad_scale = 1;
  float momentum = 0, one_minus_dampening = 1;
  float lr = 0;
  float l2_decay = 0;
  bool nesterov = false;
};
struct AdagradStep {
  float grad_scale = 1;
  float lr = 0, eps = 0;
  float l2_decay = 0;
};
struct LambStep {
  float grad_scale = 1;
  float beta1 = 0, one_minus_beta1 = 0, beta2 = 0, one_minus_beta2 = 0;
  float eps = 0;
  float decay = 0;
  bool eps_inside_sqrt = false;
  // Of lamb_apply(): x −= rate · trust · direction. In double, rounded when trust is known.
  double rate = 0;  // lr · sqrt(1 − beta2^t) / (1 − beta1^t)
  double min_coeff = 0.01, max_coeff = 10;
};
using UpdateStep = std::variant<AdamStep, LionStep, SgdStep, MomentumStep, AdagradStep, LambStep>;

// The states that an optimizer keeps for each element, beside the weight.
struct OptimizerStates {
  bool m = false, v = false;
};
OptimizerStates states_of(const Hyper& hyper);

void set_learning_rate(Hyper& hyper, double lr);
double learning_rate(const Hyper& hyper);
// A schedule's betas; without effect where there are none.
void set_betas(Hyper& hyper, double beta1, double beta2);

// `step` counts from 1. `decay`: whether weight_decay applies to these elements.
UpdateStep make_step(const Hyper& hyper, std::int64_t step, double grad_scale, bool decay);

}  // namespace fathom::kernels
