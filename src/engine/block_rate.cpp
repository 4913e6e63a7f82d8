// SPDX-License-Identifier: Apache-2.0
#include "engine/block_rate.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>

#include "base/clock.hpp"
#include "engine/tensors.hpp"
#include "models/block.hpp"

namespace fathom::engine {
namespace {

// Elements; above, and for layers of two stacks, a plain product stands in.
constexpr std::uint64_t largest_layer = 64'000'000;
constexpr int least_runs = 4, most_runs = 40;
constexpr double enough_seconds = 1.5;

// The first run warms up; the best of the others is the machine undisturbed, which is what a bound
// means.
double best_seconds(const std::function<void()>& run) {
  double best = std::numeric_limits<double>::infinity();
  const double start = now_seconds();
  for (int i = 0; i < most_runs && (i < least_runs || now_seconds() - start < enough_seconds);
       ++i) {
    const double begin = now_seconds();
    run();
    if (i != 0) best = std::min(best, now_seconds() - begin);
  }
  return best;
}

double matmul_flops(ComputeType compute) {
  const std::int64_t rows = 512, inner = 2048, columns = 2048;
  const auto type = at::TensorOptions().dtype(scalar_type(compute));
  const at::Tensor a = at::full({rows, inner}, 0.01, type),
                   b = at::full({inner, columns}, 0.01, type);
  const double best = best_seconds([&] { (void)at::matmul(a, b); });
  return 2.0 * rows * inner * columns / best;
}

}  // namespace

double measure_block_flops(const models::ModelSpec& spec, ComputeType compute, Mode mode,
                           std::uint64_t micro_batch, std::uint64_t length) {
  const models::UnitSpec& layer = spec.units.at(1);
  const auto model = models::make_model(spec);
  if (!model || spec.units.size() < 3 || layer.elements() > largest_layer || spec.encoder_decoder)
    return matmul_flops(compute);
  const auto type = at::TensorOptions().dtype(scalar_type(compute));
  models::TensorList weights;
  for (const models::ParameterSpec& parameter : layer.parameters)
    weights.push_back(at::full(parameter.shape, 0.01, type));
  const auto rows = static_cast<std::int64_t>(micro_batch),
             columns = static_cast<std::int64_t>(length);
  const at::Tensor hidden =
      at::full({rows, columns, static_cast<std::int64_t>(spec.hidden)}, 0.5, type);
  const at::Tensor ids =
      at::full({rows, columns}, 0, at::TensorOptions().dtype(c10::ScalarType::Long));
  const models::BatchContext batch = plain_context(ids);
  bool works = true;
  const double best = best_seconds([&] {
    works = works && forward_block(*model->blocks[1], weights, {hidden}, batch) &&
            (mode != Mode::train ||
             block_gradients(*model->blocks[1], weights, {hidden}, batch, {hidden}));
  });
  if (!works) return matmul_flops(compute);
  const double passes = mode == Mode::train ? 8 : 2;
  return passes * models::unit_products(layer, {length}) * static_cast<double>(micro_batch) / best;
}

}  // namespace fathom::engine
