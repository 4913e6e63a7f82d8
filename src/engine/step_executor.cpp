// SPDX-License-Identifier: Apache-2.0
#include "engine/step_executor.hpp"

#include <algorithm>
#include <cmath>

namespace fathom::engine {

kernels::Hyper hyper_of_step(const UpdateRule& rule, double learning_rate,
                             const StepControls& controls) {
  kernels::Hyper hyper = rule.hyper;
  kernels::set_learning_rate(hyper, learning_rate);
  if (controls.betas) kernels::set_betas(hyper, controls.betas->first, controls.betas->second);
  return hyper;
}

Result<double> conclude(const StepTotals& totals, const UpdateRule& rule, StepResult& result) {
  result.loss = totals.loss_sum / totals.predictions;
  result.grad_norm = std::sqrt(totals.sum_squares) / totals.loss_scale;
  result.skipped = rule.skip_non_finite && !totals.non_finite.empty();
  result.non_finite = totals.non_finite;
  if (result.skipped && totals.applied)
    return fail(Error(Errc::bad_input, "train a step")
                    .on(totals.non_finite)
                    .because("its gradient is not finite, and units behind it are already updated")
                    .remedy("set gradient_clipping (then such a step is skipped whole) or lower "
                            "the learning rate"));
  double factor = 1;
  if (rule.clipping > 0) factor = std::max(1.0, (result.grad_norm + 1e-6) / rule.clipping);
  return 1 / (factor * totals.loss_scale);
}

}  // namespace fathom::engine
