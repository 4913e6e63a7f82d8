// SPDX-License-Identifier: Apache-2.0
//
// Peaks of working memory of T5's layers, counted along t5.cpp as activation_bytes.cpp does for the
// others. Scores exist in full: their bias is learned, and no fused kernel differentiates it.
#include "models/t5_activation_bytes.hpp"

#include <algorithm>

namespace fathom::models {
namespace {

using Bytes = std::uint64_t;

// Sizes of one layer in a micro-batch.
struct Sizes {
  Bytes tokens, others;  // of its own side; of the encoder's output, in the decoder
  Bytes scores, square;  // [b, heads, length, length] and [length, length] elements
  Bytes hidden, inner, middle, heads;
  Bytes e;
  bool narrow, gated, decodes;
  bool ends;  // with the encoder's final norm
};

Sizes sizes_of(const ModelSpec& spec, const UnitSpec& unit, Bytes batch, const Lengths& lengths,
               Bytes element) {
  const Bytes length = lengths.of(unit.side);
  const bool decodes = unit.side == Side::target;
  const auto has = [&](Role role) {
    return std::ranges::any_of(unit.parameters,
                               [role](const ParameterSpec& p) { return p.role == role; });
  };
  return {.tokens = batch * length,
          .others = decodes ? batch * lengths.source : 0,
          .scores = batch * spec.heads * length * length,
          .square = length * length,
          .hidden = spec.hidden,
          .inner = spec.heads * spec.head_dim,
          .middle = spec.intermediate,
          .heads = spec.heads,
          .e = element,
          .narrow = element < sizeof(float),
          .gated = has(Role::gate),
          .decodes = decodes,
          .ends = has(Role::final_norm)};
}

// The learned bias with the rows it is looked up from; in the decoder the causal mask.
Bytes bias_bytes(const Sizes& z) { return z.square * (z.heads * z.e + 8 + (z.decodes ? z.e : 0)); }

Bytes norm_peak(const Sizes& z) { return z.tokens * z.hidden * (z.narrow ? 8 + z.e : 2 * z.e); }

// A norm's fp32 copy and normed values, and its result.
Bytes norm_saved(const Sizes& z) { return z.tokens * z.hidden * (2 * z.e + (z.narrow ? 4 : 0)); }

Bytes forward(const Sizes& z) {
  const Bytes state = z.e * z.tokens * z.hidden;
  const Bytes projections = 3 * z.e * z.tokens * z.inner;
  // Queries and keys are copied for the product; then the softmax in fp32 beside the scores.
  const Bytes in_scores =
      projections + z.scores * z.e + std::max(2 * z.e * z.tokens * z.inner, bias_bytes(z));
  const Bytes in_softmax = z.e * z.tokens * z.inner + z.scores * (z.narrow ? z.e + 8 : 8);
  const Bytes in_mix = 3 * z.e * z.tokens * z.inner + z.scores * (z.narrow ? z.e + 4 : 4);
  const Bytes in_cross = state + z.e * (3 * z.tokens + 2 * z.others) * z.inner;
  const Bytes in_mlp = 2 * state + z.e * z.tokens * (z.gated ? 2 : 1) * z.middle;
  return std::max({norm_peak(z) + state, in_scores, in_softmax, in_mix, in_cross, in_mlp});
}

Bytes backward(const Sizes& z, const UnitSpec& unit) {
  const Bytes state = z.e * z.tokens * z.hidden;
  const Bytes inner = z.e * z.tokens * z.inner;
  const Bytes saved_scores = z.scores * (z.narrow ? 4 + z.e : 4);
  const Bytes self = norm_saved(z) + 4 * inner + saved_scores + state;
  const Bytes cross =
      z.decodes ? norm_saved(z) + 3 * inner + 2 * z.e * z.others * z.inner + state : 0;
  const Bytes mlp = norm_saved(z) + state;
  const Bytes middle = z.e * z.tokens * (z.gated ? 6 : 3) * z.middle;
  const Bytes mlp_weights = z.e * (z.gated ? 3 : 2) * z.hidden * z.middle;
  const Bytes all_weights = z.e * unit.elements();

  // With everything saved, the final norm's own gradient.
  const Bytes saved_middle = z.e * z.tokens * (z.gated ? 4 : 2) * z.middle;
  const Bytes in_final = z.ends ? self + mlp + saved_middle + norm_saved(z) +
                                      z.tokens * z.hidden * (z.narrow ? 16 : 12)
                                : 0;
  const Bytes in_mlp =
      self + cross + mlp + middle + z.e * z.hidden * z.middle + (z.ends ? state : 0);
  // Gradients of both sides' projections; the one of the state beside its sum.
  const Bytes in_cross =
      self + cross + mlp_weights + state +
      (z.decodes ? 3 * inner + 2 * z.e * z.others * z.inner + z.e * z.hidden * z.inner : 0);
  // The gradient of the weights of attention, and of the scores twice in 16-bit types.
  const Bytes in_scores = self + all_weights - 3 * z.e * z.hidden * z.inner + state + 2 * inner +
                          z.scores * (z.narrow ? 4 + 2 * z.e + 4 : 8) +
                          (z.decodes ? 2 * z.e * z.others * z.inner : 0);
  const Bytes at_end = norm_saved(z) + z.tokens * z.hidden * (z.narrow ? 16 : 12) + 3 * inner +
                       all_weights + 2 * bias_bytes(z) +
                       (z.decodes ? z.e * z.others * z.hidden : 0);
  return std::max({in_final, in_mlp, in_cross, in_scores, at_end});
}

}  // namespace

ActivationBytes t5_layer_bytes(const ModelSpec& spec, const UnitSpec& unit, std::uint64_t batch,
                               const Lengths& lengths, std::uint64_t element_bytes) {
  const Sizes z = sizes_of(spec, unit, batch, lengths, element_bytes);
  constexpr Bytes small = 64 * 1024;  // packed operands, statistics
  return {forward(z) + small, backward(z, unit) + small};
}

}  // namespace fathom::models
