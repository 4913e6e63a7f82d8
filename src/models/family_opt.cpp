// SPDX-License-Identifier: Apache-2.0
//
// OPT: learned positions behind two unused rows, biases everywhere, norms before.
#include <string>

#include "models/config_fields.hpp"
#include "models/families.hpp"
#include "models/unit_builder.hpp"

namespace fathom::models {
namespace {

constexpr std::int64_t position_offset = 2;
constexpr double norm_eps = 1e-5;  // not in config.json

Result<void> read_sizes(const Fields& fields, ModelSpec& spec) {
  FATHOM_ASSIGN(spec.hidden, fields.size("hidden_size", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.intermediate, fields.size("ffn_dim", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.layers, fields.size("num_hidden_layers", std::nullopt, layer_limit));
  FATHOM_ASSIGN(spec.heads, fields.size("num_attention_heads", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.max_positions,
                fields.size("max_position_embeddings", std::uint64_t{2048}, vocabulary_limit));
  FATHOM_ASSIGN(const std::uint64_t projected,
                fields.size("word_embed_proj_dim", spec.hidden, width_limit));
  if (projected != spec.hidden) {
    return fail(fields.unsupported("word_embed_proj_dim", std::to_string(projected),
                                   fmt::format("hidden_size ({})", spec.hidden)));
  }
  if (spec.hidden % spec.heads != 0) {
    return fail(fields.bad("num_attention_heads", fmt::format("{} does not divide hidden_size {}",
                                                              spec.heads, spec.hidden)));
  }
  spec.kv_heads = spec.heads;
  spec.head_dim = spec.hidden / spec.heads;
  return {};
}

void add_units(ModelSpec& spec, bool bias, double init_std) {
  const std::uint64_t hidden = spec.hidden;
  const std::string prefix = "model.decoder.";
  UnitBuilder embedding("embed_tokens", UnitKind::embedding, prefix, init_std);
  embedding.table(Role::table, "embed_tokens", spec.vocabulary, hidden);
  embedding.table(Role::positions, "embed_positions", spec.max_positions + position_offset, hidden);
  spec.units.push_back(embedding.take());

  for (std::uint64_t i = 0; i < spec.layers; ++i) {
    const std::string name = "layers." + std::to_string(i);
    UnitBuilder layer(name, UnitKind::layer, prefix + name + ".", init_std);
    layer.norm(Role::attention_norm, "self_attn_layer_norm", hidden, true);
    layer.linear(Role::query, "self_attn.q_proj", hidden, hidden, bias);
    layer.linear(Role::key, "self_attn.k_proj", hidden, hidden, bias);
    layer.linear(Role::value, "self_attn.v_proj", hidden, hidden, bias);
    layer.linear(Role::output, "self_attn.out_proj", hidden, hidden, bias);
    layer.norm(Role::mlp_norm, "final_layer_norm", hidden, true);
    layer.linear(Role::up, "fc1", spec.intermediate, hidden, bias);
    layer.linear(Role::down, "fc2", hidden, spec.intermediate, bias);
    spec.units.push_back(layer.take());
  }

  UnitBuilder head("head", UnitKind::head, "", init_std);
  head.norm(Role::final_norm, prefix + "final_layer_norm", hidden, true);
  if (spec.tied_head) {
    head.shared_product(spec.vocabulary * hidden);
  } else {
    head.linear(Role::head, "lm_head", spec.vocabulary, hidden, false);
  }
  spec.units.push_back(head.take());
}

}  // namespace

Result<void> read_opt(const Fields& fields, ModelSpec& spec) {
  FATHOM_CHECK(read_sizes(fields, spec));
  FATHOM_CHECK(fields.require_flag("do_layer_norm_before", true));
  FATHOM_CHECK(fields.require_flag("_remove_final_layer_norm", false));
  FATHOM_CHECK(fields.require_flag("layer_norm_elementwise_affine", true));
  FATHOM_ASSIGN(const bool bias, fields.flag("enable_bias", true));
  FATHOM_ASSIGN(spec.tied_head, fields.flag("tie_word_embeddings", true));
  CausalConfig& config = spec.causal;
  config.rotary = false;
  config.position_offset = position_offset;
  config.layer_norm = true;
  config.norm_eps = norm_eps;
  FATHOM_ASSIGN(config.activation, activation_of(fields, "activation_function", "relu"));
  if (!spec.pad_token && !fields.has("pad_token_id") && spec.vocabulary > 1) spec.pad_token = 1;
  config.padding_token = spec.pad_token;
  FATHOM_ASSIGN(const double init_std, fields.positive("init_std", 0.02));
  add_units(spec, bias, init_std);
  chain_carries(spec);
  spec.optional_prefix = "model.";
  return {};
}

}  // namespace fathom::models
