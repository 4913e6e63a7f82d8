// SPDX-License-Identifier: Apache-2.0
//
// GPT-2: learned positions, one matrix for query, key and value, matrices stored [in, out].
#include <cmath>
#include <string>

#include "models/config_fields.hpp"
#include "models/families.hpp"
#include "models/unit_builder.hpp"

namespace fathom::models {
namespace {

Result<void> read_sizes(const Fields& fields, ModelSpec& spec) {
  FATHOM_ASSIGN(spec.hidden, fields.size("n_embd", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.intermediate, fields.size("n_inner", 4 * spec.hidden, width_limit));
  FATHOM_ASSIGN(spec.layers, fields.size("n_layer", std::nullopt, layer_limit));
  FATHOM_ASSIGN(spec.heads, fields.size("n_head", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.max_positions,
                fields.size("n_positions", std::uint64_t{1024}, vocabulary_limit));
  if (spec.hidden % spec.heads != 0) {
    return fail(
        fields.bad("n_head", fmt::format("{} does not divide n_embd {}", spec.heads, spec.hidden)));
  }
  spec.kv_heads = spec.heads;
  spec.head_dim = spec.hidden / spec.heads;
  return {};
}

void add_units(ModelSpec& spec, double init_std) {
  const std::uint64_t hidden = spec.hidden;
  UnitBuilder embedding("embed_tokens", UnitKind::embedding, "transformer.", init_std);
  embedding.table(Role::table, "wte", spec.vocabulary, hidden);
  embedding.table(Role::positions, "wpe", spec.max_positions, hidden);
  spec.units.push_back(embedding.take());

  // What is added to the residual stream starts smaller the more layers add to it.
  const double residual_std = init_std / std::sqrt(2.0 * static_cast<double>(spec.layers));
  for (std::uint64_t i = 0; i < spec.layers; ++i) {
    const std::string name = "h." + std::to_string(i);
    UnitBuilder layer("layers." + std::to_string(i), UnitKind::layer, "transformer." + name + ".",
                      init_std);
    layer.norm(Role::attention_norm, "ln_1", hidden, true);
    layer.transposed_linear(Role::query_key_value, "attn.c_attn", 3 * hidden, hidden, init_std);
    layer.transposed_linear(Role::output, "attn.c_proj", hidden, hidden, residual_std);
    layer.norm(Role::mlp_norm, "ln_2", hidden, true);
    layer.transposed_linear(Role::up, "mlp.c_fc", spec.intermediate, hidden, init_std);
    layer.transposed_linear(Role::down, "mlp.c_proj", hidden, spec.intermediate, residual_std);
    spec.units.push_back(layer.take());
  }

  UnitBuilder head("head", UnitKind::head, "", init_std);
  head.norm(Role::final_norm, "transformer.ln_f", hidden, true);
  if (spec.tied_head) {
    head.shared_product(spec.vocabulary * hidden);
  } else {
    head.linear(Role::head, "lm_head", spec.vocabulary, hidden, false);
  }
  spec.units.push_back(head.take());
}

}  // namespace

Result<void> read_gpt2(const Fields& fields, ModelSpec& spec) {
  FATHOM_CHECK(read_sizes(fields, spec));
  FATHOM_CHECK(fields.require_flag("scale_attn_weights", true));
  FATHOM_CHECK(fields.require_flag("scale_attn_by_inverse_layer_idx", false));
  FATHOM_CHECK(fields.require_flag("add_cross_attention", false));
  FATHOM_ASSIGN(spec.tied_head, fields.flag("tie_word_embeddings", true));
  CausalConfig& config = spec.causal;
  config.rotary = false;
  config.layer_norm = true;
  config.transposed = true;
  FATHOM_ASSIGN(config.norm_eps, fields.positive("layer_norm_epsilon", 1e-5));
  FATHOM_ASSIGN(config.activation, activation_of(fields, "activation_function", "gelu_new"));
  FATHOM_ASSIGN(const double init_std, fields.positive("initializer_range", 0.02));
  add_units(spec, init_std);
  chain_carries(spec);
  spec.optional_prefix = "transformer.";
  spec.surplus = {"h.*.attn.bias", "h.*.attn.masked_bias"};
  return {};
}

}  // namespace fathom::models
