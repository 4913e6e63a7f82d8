// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw.hpp"

#include <cmath>

#include "base/assert.hpp"
#include "kernels/update.hpp"

namespace fathom::kernels {

AdamStep adam_step(const AdamHyper& hyper, std::int64_t step, double grad_scale, bool decay) {
  FATHOM_ASSERT(step >= 1, "optimizer steps count from 1");
  const auto t = static_cast<double>(step);
  const double bias1 = hyper.bias_correction ? 1 - std::pow(hyper.beta1, t) : 1;
  const double bias2 = hyper.bias_correction ? 1 - std::pow(hyper.beta2, t) : 1;
  AdamStep scalars;
  scalars.grad_scale = static_cast<float>(grad_scale);
  scalars.beta1 = static_cast<float>(hyper.beta1);
  scalars.one_minus_beta1 = static_cast<float>(1 - hyper.beta1);
  scalars.beta2 = static_cast<float>(hyper.beta2);
  scalars.one_minus_beta2 = static_cast<float>(1 - hyper.beta2);
  scalars.eps = static_cast<float>(hyper.eps);
  scalars.step_size = static_cast<float>(hyper.lr / bias1);
  scalars.sqrt_bias2 = static_cast<float>(std::sqrt(bias2));
  if (decay && hyper.decoupled)
    scalars.lr_decay = static_cast<float>(hyper.lr * hyper.weight_decay);
  if (decay && !hyper.decoupled) scalars.l2_decay = static_cast<float>(hyper.weight_decay);
  return scalars;
}

void adamw_split(ThreadPool* pool, const AdamStep& step, std::uint16_t* weight, std::uint16_t* low,
                 float* m, float* v, const std::uint16_t* grad_bf16, std::size_t count) {
  update(pool, step,
         {.master = MasterFormat::split,
          .gradient = GradientFormat::bf16,
          .weight = weight,
          .low = low,
          .m = m,
          .v = v,
          .grad = grad_bf16},
         count);
}

void adamw_split(ThreadPool* pool, const AdamStep& step, std::uint16_t* weight, std::uint16_t* low,
                 float* m, float* v, const float* grad, std::size_t count) {
  update(pool, step,
         {.master = MasterFormat::split,
          .gradient = GradientFormat::fp32,
          .weight = weight,
          .low = low,
          .m = m,
          .v = v,
          .grad = grad},
         count);
}

void adamw_fp32(ThreadPool* pool, const AdamStep& step, float* weight, float* m, float* v,
                const float* grad, std::size_t count) {
  update(pool, step,
         {.master = MasterFormat::whole,
          .gradient = GradientFormat::fp32,
          .weight = weight,
          .m = m,
          .v = v,
          .grad = grad},
         count);
}

}  // namespace fathom::kernels
