// SPDX-License-Identifier: Apache-2.0
#include "models/attention.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/scaled_dot_product_attention.h>

namespace fathom::models {
namespace {

double lowest(at::ScalarType dtype) {
  if (dtype == at::kHalf) return -65504.0;
  // The largest bf16 below infinity has the upper half of fp32's pattern, so it is a little
  // smaller.
  if (dtype == at::kBFloat16)
    return static_cast<double>(std::numeric_limits<c10::BFloat16>::lowest());
  return static_cast<double>(std::numeric_limits<float>::lowest());
}

at::Tensor fused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const Visibility& visible, bool grouped) {
  const std::optional<at::Tensor> bias =
      visible.bias.defined() ? std::optional(visible.bias) : std::nullopt;
  return at::scaled_dot_product_attention(q, k, v, bias, 0.0, visible.causal, std::nullopt,
                                          grouped);
}

// [b, heads, s, d] -> [b, s, heads · d]
at::Tensor merge_heads(const at::Tensor& x) {
  return x.transpose(1, 2).reshape({x.size(0), x.size(2), x.size(1) * x.size(3)});
}

at::Tensor attend_grouped_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const Visibility& visible) {
  const std::int64_t b = q.size(0), heads = q.size(1), s = q.size(2), d = q.size(3);
  const std::int64_t kv = k.size(1), t = k.size(2), group = heads / kv;
  if (b > 1 && visible.bias.defined() && visible.bias.dim() == 4 && visible.bias.size(0) > 1) {
    // With a bias per row the rows go one by one: folding them would copy the bias for each head.
    std::vector<at::Tensor> rows;
    for (std::int64_t row = 0; row < b; ++row) {
      rows.push_back(attend_grouped_cpu(q.narrow(0, row, 1), k.narrow(0, row, 1),
                                        v.narrow(0, row, 1),
                                        {visible.bias.narrow(0, row, 1), visible.causal}));
    }
    return at::cat(rows);
  }
  const at::Tensor folded_q = q.reshape({b * kv, group, s, d});
  const at::Tensor folded_k = k.reshape({b * kv, 1, t, d}).expand({b * kv, group, t, d});
  const at::Tensor folded_v = v.reshape({b * kv, 1, t, d}).expand({b * kv, group, t, d});
  return fused(folded_q, folded_k, folded_v, visible, false)
      .view({b, kv, group, s, d})
      .permute({0, 3, 1, 2, 4})
      .reshape({b, s, heads * d});
}

}  // namespace

Rotation rotation(const at::Tensor& positions, std::span<const float> frequencies,
                  at::ScalarType dtype) {
  const auto half = static_cast<std::int64_t>(frequencies.size());
  at::Tensor table = at::empty({half}, at::TensorOptions().dtype(at::kFloat));
  std::ranges::copy(frequencies, table.mutable_data_ptr<float>());
  const at::Tensor angles =
      positions.to(at::kFloat).unsqueeze(1).unsqueeze(3).mul(table.to(positions.device()));
  return {angles.cos().to(dtype), angles.sin().to(dtype)};
}

at::Tensor rotate(const at::Tensor& x, const Rotation& rotation) {
  const std::vector<at::Tensor> halves = x.split(x.size(3) / 2, 3);
  // In place on fresh products: their inputs are saved for the gradient, they are not.
  at::Tensor first = halves[0].mul(rotation.cos);
  first.sub_(halves[1].mul(rotation.sin));
  at::Tensor second = halves[1].mul(rotation.cos);
  second.add_(halves[0].mul(rotation.sin));
  return at::cat({first, second}, 3);
}

Visibility visibility(const at::Tensor& mask, std::int64_t new_tokens, std::int64_t past,
                      std::uint64_t window, const at::TensorOptions& options) {
  const std::int64_t total = past + new_tokens;
  const auto width = static_cast<std::int64_t>(window);
  const bool windowed = window != 0 && total > width;
  if (!windowed) {
    if (mask.defined()) return {mask, false};
    if (new_tokens == 1) return {};
    if (past == 0) return {{}, true};
  }
  const double hidden = lowest(c10::typeMetaToScalarType(options.dtype()));
  const auto block = [&] { return at::full({new_tokens, total}, hidden, options); };
  at::Tensor bias = block().triu_(past + 1);
  if (windowed) bias.add_(block().tril_(past - width));
  // The minimum, not the sum: two finite minima would add up to -inf.
  if (mask.defined()) bias = at::minimum(mask, bias);
  return {bias, false};
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const Visibility& visible) {
  const std::int64_t heads = q.size(1), kv = k.size(1);
  if (heads == kv) return merge_heads(fused(q, k, v, visible, false));
  if (q.is_cpu()) return attend_grouped_cpu(q, k, v, visible);
  if (!visible.bias.defined()) return merge_heads(fused(q, k, v, visible, true));
  // On a GPU no fused kernel takes both a bias and grouped queries: keys and values are repeated,
  // which is small beside the scores that the unfused path would hold.
  const auto repeat = [&](const at::Tensor& x) {
    return x.unsqueeze(2)
        .expand({x.size(0), kv, heads / kv, x.size(2), x.size(3)})
        .reshape({x.size(0), heads, x.size(2), x.size(3)});
  };
  return merge_heads(fused(q, repeat(k), repeat(v), visible, false));
}

}  // namespace fathom::models
