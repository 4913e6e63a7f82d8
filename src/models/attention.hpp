// SPDX-License-Identifier: Apache-2.0
//
// Rotary embedding and grouped-query attention of decoder blocks.
//
// Purpose      Plain differentiable functions over tensors. Scores are never held in full where
//              LibTorch has a fused kernel: on the CPU that kernel knows no grouped queries, so the
//              groups are folded into its batch without copying keys or values.
// Threads      Pure functions.
// Shapes       b rows, s new tokens, t = s + past tokens, d head_dim; q [b, heads, s, d],
//              k and v [b, kv_heads, t, d].
#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

namespace fathom::models {

// cos and sin of the angles, [b, 1, s, d / 2] each, computed in fp32 and cast to `dtype`.
struct Rotation {
  at::Tensor cos, sin;
};
Rotation rotation(const at::Tensor& positions, std::span<const float> frequencies,
                  at::ScalarType dtype);

// Half-split rotary embedding of x [b, heads, s, d]; the result is contiguous.
at::Tensor rotate(const at::Tensor& x, const Rotation& rotation);

// What each new token may see. `mask` as in BatchContext (undefined: causal), `window` as in
// LlamaConfig (0: everything before).
struct Visibility {
  at::Tensor bias;      // additive [s, t] or [b, 1, s, t]; undefined when not needed
  bool causal = false;  // without bias: the fused kernel's own causal mask
};
Visibility visibility(const at::Tensor& mask, std::int64_t new_tokens, std::int64_t past,
                      std::uint64_t window, const at::TensorOptions& options);

// -> [b, s, heads · d]
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const Visibility& visible);

}  // namespace fathom::models
