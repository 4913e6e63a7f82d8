// SPDX-License-Identifier: Apache-2.0
#include "models/layers.hpp"

#include <tuple>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_unsafe_view.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>

#include "base/assert.hpp"

namespace fathom::models {
namespace {

at::Tensor activate(at::Tensor x, Activation kind) {
  const bool keep = at::GradMode::is_enabled();
  switch (kind) {
    case Activation::silu: return keep ? at::silu(x) : at::silu_(x);
    case Activation::relu: return keep ? at::relu(x) : at::relu_(x);
    case Activation::gelu: return keep ? at::gelu(x, "none") : at::gelu_(x, "none");
    case Activation::gelu_tanh: return keep ? at::gelu(x, "tanh") : at::gelu_(x, "tanh");
  }
  return x;
}

}  // namespace

Slot::Slot(const UnitSpec& unit, Role role, bool bias, std::uint32_t expert) {
  for (std::size_t i = 0; i < unit.parameters.size(); ++i) {
    const ParameterSpec& p = unit.parameters[i];
    if (p.role == role && p.bias == bias && p.expert == expert) index_ = i;
  }
}

const at::Tensor& Slot::of(Parameters parameters) const {
  FATHOM_ASSERT(index_ && *index_ < parameters.size(), "a unit was bound to too few parameters");
  return parameters[*index_];
}

at::Tensor Linear::operator()(Parameters parameters, const at::Tensor& x) const {
  const at::Tensor& weight = weight_.of(parameters);
  if (!transposed_) {
    const auto add = bias_.present() ? std::optional(bias_.of(parameters)) : std::nullopt;
    return at::linear(x, weight, add);
  }
  // _unsafe_view, so that the caller may add to it in place; not linear with a transposed view: the
  // gradient would come back as one too.
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(1);
  return at::_unsafe_view(at::addmm(bias_.of(parameters), x.reshape({-1, x.size(-1)}), weight),
                          shape);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = wide.square().mean({-1}, true).add_(eps).rsqrt_();
  at::Tensor normed = wide.mul(scale).to(x.scalar_type());
  return at::GradMode::is_enabled() ? normed.mul(weight) : normed.mul_(weight);
}

at::Tensor Norm::operator()(Parameters parameters, const at::Tensor& x) const {
  if (!layer_norm_) return rms_norm(x, weight_.of(parameters), eps_);
  const auto add = bias_.present() ? std::optional(bias_.of(parameters)) : std::nullopt;
  return at::layer_norm(x, {x.size(-1)}, weight_.of(parameters), add, eps_);
}

at::Tensor FeedForward::operator()(Parameters parameters, const at::Tensor& x) const {
  at::Tensor product;
  if (gate_.present()) {
    at::Tensor gate = activate(gate_(parameters, x), activation_);
    const at::Tensor up = up_(parameters, x);
    product = at::GradMode::is_enabled() ? gate.mul(up) : gate.mul_(up);
  } else {
    product = activate(up_(parameters, x), activation_);
  }
  return down_(parameters, product);
}

Experts::Experts(const UnitSpec& unit, Activation activation, std::uint64_t per_token)
    : router_(unit, Role::router), per_token_(static_cast<std::int64_t>(per_token)) {
  for (std::uint32_t e = 0; Slot(unit, Role::down, false, e).present(); ++e) {
    experts_.emplace_back(unit, activation, false, e);
  }
}

at::Tensor Experts::operator()(Parameters parameters, const at::Tensor& x) const {
  const at::Tensor tokens = x.reshape({-1, x.size(-1)});
  const std::int64_t n = tokens.size(0), h = tokens.size(1);
  auto [weights, chosen] =
      at::topk(at::softmax(router_(parameters, tokens), -1, at::kFloat), per_token_, -1);
  weights = weights.div(weights.sum({-1}, true)).to(x.scalar_type());

  // One row for each (token, expert), sorted by expert. Every row occurs once, so that no gradient
  // is a sum in no particular order.
  const at::Tensor flat = chosen.reshape({-1});
  const at::Tensor order = at::argsort(flat, /*stable=*/true, 0, false);
  const at::Tensor counts =
      at::bincount(flat, {}, static_cast<std::int64_t>(experts_.size())).cpu();
  const std::vector<std::int64_t> rows(
      counts.const_data_ptr<std::int64_t>(),
      counts.const_data_ptr<std::int64_t>() + static_cast<std::int64_t>(experts_.size()));
  const std::vector<at::Tensor> parts = tokens.unsqueeze(1)
                                            .expand({n, per_token_, h})
                                            .reshape({n * per_token_, h})
                                            .index_select(0, order)
                                            .split_with_sizes(rows);
  std::vector<at::Tensor> results;
  for (std::size_t e = 0; e < experts_.size(); ++e) {
    // With gradients an expert without tokens runs too, so that its parameters get theirs: zero.
    if (rows[e] != 0 || at::GradMode::is_enabled()) {
      results.push_back(experts_[e](parameters, parts[e]));
    }
  }
  const at::Tensor back = at::argsort(order, /*stable=*/true, 0, false);
  const at::Tensor sorted = at::cat(results);
  results.clear();
  const at::Tensor mixed =
      sorted.index_select(0, back).view({n, per_token_, h}).mul(weights.unsqueeze(2)).sum({1});
  return at::_unsafe_view(mixed, x.sizes());
}

}  // namespace fathom::models
