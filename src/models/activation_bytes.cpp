// SPDX-License-Identifier: Apache-2.0
//
// Peaks of working memory, counted tensor by tensor along causal.cpp, layers.cpp and loss.cpp. Each
// function names the moments at which the most is live and takes the largest; tests compare the
// sums with what LibTorch allocates.
#include <algorithm>

#include "base/assert.hpp"
#include "base/units.hpp"
#include "models/spec.hpp"
#include "models/t5_activation_bytes.hpp"

namespace fathom::models {
namespace {

using Bytes = std::uint64_t;

// Sizes per token, in elements, and the widths of the types.
struct Widths {
  Bytes hidden = 0, query = 0, key = 0, middle = 0, head_dim = 0;
  Bytes e = 0;           // bytes of the compute type
  bool narrow = false;   // a 16-bit type: RMSNorms hold fp32 copies
  bool grouped = false;  // fewer key heads than query heads
  bool head_norms = false, layer_norm = false, rotary = false, fused = false, gated = false;
  Bytes experts = 0, per_token = 0;
  Bytes mlp_elements = 0;  // weights of the feed-forward network
  Bytes small = 0;         // softmax statistics, rotary tables, scales of norms: bytes
};

Bytes elements_of(const UnitSpec& unit, Role role) {
  Bytes sum = 0;
  for (const ParameterSpec& parameter : unit.parameters) {
    if (parameter.role == role) sum += parameter.elements();
  }
  return sum;
}

Bytes experts_of(const UnitSpec& unit) {
  Bytes experts = 0;
  for (const ParameterSpec& parameter : unit.parameters) {
    if (parameter.role == Role::router) experts = static_cast<Bytes>(parameter.shape.front());
  }
  return experts;
}

Widths widths_of(const ModelSpec& spec, const UnitSpec& unit, Bytes element) {
  const Bytes query = spec.heads * spec.head_dim, key = spec.kv_heads * spec.head_dim;
  return {.hidden = spec.hidden,
          .query = query,
          .key = key,
          .middle = spec.intermediate,
          .head_dim = spec.head_dim,
          .e = element,
          .narrow = element < sizeof(float),
          .grouped = spec.heads != spec.kv_heads,
          .head_norms = elements_of(unit, Role::query_norm) != 0,
          .layer_norm = spec.causal.layer_norm,
          .rotary = spec.causal.rotary,
          .fused = elements_of(unit, Role::query_key_value) != 0,
          .gated = elements_of(unit, Role::gate) != 0,
          .experts = experts_of(unit),
          .per_token = spec.causal.experts_per_token,
          .mlp_elements = elements_of(unit, Role::gate) + elements_of(unit, Role::up) +
                          elements_of(unit, Role::down) + elements_of(unit, Role::router),
          // cos and sin, with their fp32 angles while they are made
          .small = 4 * spec.heads + spec.head_dim * (element + 4) + 16};
}

// A norm of `size` elements while it runs, its result included.
Bytes norm_peak(const Widths& w, Bytes size) {
  if (w.layer_norm) return size * w.e + 8;
  return size * (w.narrow ? 8 + w.e : 2 * w.e);
}

// A feed-forward network without its input: gate and up, or the product and the result.
Bytes middle_forward(const Widths& w) {
  return std::max((w.gated ? 2 : 1) * w.middle, w.middle + w.hidden);
}
// Saved, less the product, and their gradients.
Bytes middle_backward(const Widths& w) { return (w.gated ? 6 : 3) * w.middle; }

// Experts of one token, without the residual and the norm: rows sorted by expert, results, the same
// in the tokens' order and weighted. The worst routing sends all tokens through the same experts.
Bytes experts_forward(const Widths& w) {
  const Bytes rows = w.per_token * w.hidden;
  const Bytes routing = 8 * (2 * w.experts + 6 * w.per_token);
  return routing + w.e * (2 * rows + std::max(2 * w.middle, 3 * rows));
}
// As the experts are differentiated one by one, what they saved goes and the gradients of their
// weights come: the most is there at the first or at the last of them.
Bytes experts_backward(const Widths& w, Bytes tokens) {
  const Bytes rows = w.per_token * w.hidden;
  const Bytes routing = 8 * (3 * w.experts + 8 * w.per_token);
  const Bytes first =
      tokens * w.e * (4 * w.per_token + 2) * w.middle + w.e * w.mlp_elements / w.experts;
  const Bytes last = tokens * w.e * 6 * w.middle + w.e * w.mlp_elements;
  return tokens * (routing + w.e * 4 * rows) + std::max(first, last);
}

Bytes layer_forward(const Widths& w) {
  const Bytes projected = w.query + 2 * w.key;
  Bytes peak = norm_peak(w, w.hidden);
  peak = std::max(peak, w.e * (w.hidden + projected));
  if (w.head_norms) peak = std::max(peak, w.e * projected + norm_peak(w, w.query));
  // Rotation: both halves beside the old and the new query.
  if (w.rotary) peak = std::max(peak, w.e * (projected + 2 * w.query));
  // MLP: residual, norm, gate and up.
  peak = std::max(peak, w.e * w.hidden + norm_peak(w, w.hidden));
  const Bytes mlp = w.experts != 0 ? experts_forward(w) : w.e * middle_forward(w);
  return w.small + std::max(peak, w.e * 2 * w.hidden + std::max(mlp, w.e * w.hidden));
}

// Attention: its output, with the heads merged too, and for groups a copy of the values.
Bytes attention_forward(const Widths& w) {
  return w.small + w.e * (3 * w.query + 2 * w.key + (w.grouped ? w.key : 0));
}

// Saved for the gradient by one norm of `size`, beside its input: the fp32 copy, the normed values.
Bytes norm_saved(const Widths& w, Bytes size) {
  if (w.layer_norm) return 8;
  return size * (w.e + (w.narrow ? 4 : 0));
}

// Scratch of the CPU's fused attention: blocks of scores, per worker thread.
Bytes attention_scratch(Bytes length, Bytes threads) {
  const Bytes rows = length >= 768 ? 256 : 64;
  return threads * 2 * sizeof(float) * rows * std::min<Bytes>(length, 512);
}

// Packed operands of 16-bit matrix products on the CPU.
Bytes product_bytes(Bytes element) { return element < 4 ? 96 * KiB : 0; }
Bytes product_scratch(const Widths& w) { return product_bytes(w.narrow ? 2 : 4); }

Bytes layer_backward(const Widths& w, const UnitSpec& unit, Bytes tokens, Bytes scratch) {
  const Bytes attention_norm = norm_saved(w, w.hidden) + w.e * w.hidden;
  Bytes head_norms = 0;
  if (w.head_norms) {
    // In fp32 the norm's input is the projection itself, kept for it alone.
    head_norms = norm_saved(w, w.query + w.key) + (w.narrow ? 0 : w.e * (w.query + w.key));
  }
  // Query, key, value; the output as attention gave it and with its heads merged.
  const Bytes heads = w.e * (3 * w.query + 2 * w.key);
  const Bytes mlp_norm = w.e * w.hidden + norm_saved(w, w.hidden) + w.e * w.hidden;
  const Bytes output = w.e * w.hidden;

  // The feed-forward network, differentiated: what it saved, gradients, and down's.
  const Bytes mlp = w.experts != 0 ? experts_backward(w, tokens)
                                   : w.e * (tokens * middle_backward(w) + w.hidden * w.middle);
  const Bytes in_mlp =
      tokens * (w.small + attention_norm + head_norms + heads + mlp_norm + output) + mlp;
  // Attention, differentiated: the gradient of its output twice, those of query, key and value over
  // all heads (in 16-bit types beside fp32 sums), the residual's; those of the MLP and of o. One
  // matrix for the three gets their gradients side by side in a copy.
  const Bytes in_attention =
      tokens * (w.small + 32 * w.query / w.head_dim + attention_norm + head_norms + heads -
                w.e * w.query + output +
                w.e * (w.hidden + 5 * w.query + (w.fused && !w.narrow ? w.query : 0)) +
                (w.narrow ? 3 * sizeof(float) * w.query : 0)) +
      w.e * (w.mlp_elements + w.hidden * w.query) + scratch;
  // The first norm, differentiated: the gradients of all parameters are there.
  const Bytes norm = w.layer_norm ? 3 * w.e : (w.narrow ? 16 + 2 * w.e : 5 * w.e);
  const Bytes at_end = tokens * (w.small + attention_norm + head_norms + output + w.hidden * norm +
                                 2 * w.e * w.query) +
                       w.e * unit.elements();
  return std::max({in_mlp, in_attention, at_end}) + product_scratch(w);
}

ActivationBytes of_embedding(const ModelSpec& spec, Bytes tokens, Bytes element) {
  // Learned positions are looked up beside the tokens.
  const bool positions = elements_of(spec.units.front(), Role::positions) != 0;
  const Bytes output = tokens * (spec.hidden * element * (positions ? 2 : 1) + (positions ? 8 : 0));
  // Two lookups in one table, source and target, give two gradients that are then added.
  const Bytes gradients = spec.units.front().elements() * (spec.encoder_decoder ? 2 : 1);
  return {output, tokens * spec.hidden * element + gradients * element + 8 * tokens};
}

ActivationBytes of_layer(const ModelSpec& spec, const UnitSpec& unit, Bytes tokens, Bytes length,
                         Bytes element, Bytes threads) {
  const Widths w = widths_of(spec, unit, element);
  // A window needs its bias in full, made from two halves.
  const bool windowed = std::ranges::any_of(
      spec.causal.windows, [&](Bytes window) { return window != 0 && window < length; });
  const Bytes bias = windowed ? 2 * length * length * element : 0;
  const Bytes scratch = attention_scratch(length, threads) + bias;
  const Bytes attention = tokens * attention_forward(w) + scratch;
  return {std::max(tokens * layer_forward(w), attention) + product_scratch(w),
          layer_backward(w, unit, tokens, scratch) + bias};
}

ActivationBytes of_head(const ModelSpec& spec, Bytes tokens, Bytes element) {
  const Widths w = widths_of(spec, spec.units.back(), element);
  const Bytes rows = loss_chunk_rows(spec, tokens), h = spec.hidden, v = spec.vocabulary;
  constexpr Bytes small = 64;  // targets, maxima, sums
  const Bytes logits = v * element + (w.narrow ? v * sizeof(float) : 0);
  const Bytes norm = norm_saved(w, h) + h * element;
  const Bytes weights = (v + 1) * h * element;
  const Bytes hidden = tokens * h * element;
  ActivationBytes bytes;
  bytes.forward = rows * (small + std::max({norm_peak(w, h), h * element + v * element, logits})) +
                  product_scratch(w);
  // While the logits turn into their gradient; while the norm is differentiated; while a gradient
  // is added up, a slice of it widened.
  const Bytes turning = rows * (logits + norm);
  const Bytes norm_backward = h * (w.layer_norm ? 3 * element : (w.narrow ? 24 : 20));
  const Bytes differentiating = rows * (v * element + norm_backward) + weights + h * element;
  const Bytes adding = rows * (v * element + h * element) + weights +
                       (w.narrow ? sizeof(float) * std::min<Bytes>(MiB, v * h) : 0);
  bytes.backward =
      hidden + rows * small + std::max({turning, differentiating, adding}) + product_scratch(w);
  return bytes;
}

}  // namespace

ActivationBytes activation_bytes(const ModelSpec& spec, std::uint32_t unit, std::uint64_t batch,
                                 const Lengths& lengths, std::uint64_t element_bytes,
                                 std::uint64_t threads) {
  FATHOM_ASSERT(unit < spec.units.size(), "no such unit");
  const UnitSpec& part = spec.units[unit];
  const Bytes length = lengths.of(part.side), tokens = batch * length;
  if (part.working_elements != 0 && part.kind == UnitKind::layer) {
    // Kept for the gradient, the gradients of the same tensors and of the parameters.
    const Bytes made = tokens * part.working_elements * element_bytes;
    return {made, 3 * made + 2 * part.elements() * element_bytes + product_bytes(element_bytes)};
  }
  switch (part.kind) {
    case UnitKind::embedding:
      return of_embedding(spec, batch * (lengths.source + lengths.target), element_bytes);
    case UnitKind::layer:
      return spec.encoder_decoder ? t5_layer_bytes(spec, part, batch, lengths, element_bytes)
                                  : of_layer(spec, part, tokens, length, element_bytes, threads);
    case UnitKind::head: return of_head(spec, tokens, element_bytes);
  }
  return {};
}

}  // namespace fathom::models
