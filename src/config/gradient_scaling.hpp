// SPDX-License-Identifier: Apache-2.0
//
// GradientScaling: by what a gradient is multiplied before and after it is summed over the ranks.
//
// Purpose      prescale_gradients, gradient_predivide_factor and gradient_allreduce_op together.
//              The product of both factors is 1 / ranks for the mean and 1 for the sum; dividing
//              first keeps the sum of many ranks inside a 16-bit type. One rank has nothing to sum,
//              and both factors are 1.
//
//   const GradientScaling scaling = gradient_scaling(config.communication, world);
#pragma once

#include <cstdint>

#include "config/config.hpp"

namespace fathom::config {

struct GradientScaling {
  double before = 1, after = 1;
};

constexpr GradientScaling gradient_scaling(const CommunicationConfig& config, std::uint64_t ranks) {
  if (ranks == 1 || config.op == ReduceOp::sum) return {};
  const auto world = static_cast<double>(ranks);
  if (config.prescale_gradients) return {.before = 1 / world, .after = 1};
  return {.before = 1 / config.predivide_factor, .after = config.predivide_factor / world};
}

}  // namespace fathom::config
