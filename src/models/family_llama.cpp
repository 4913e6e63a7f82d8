// SPDX-License-Identifier: Apache-2.0
//
// The Llama families: llama, mistral, qwen2, qwen3, and mixtral with experts.
#include <cmath>
#include <cstddef>
#include <numbers>
#include <string>

#include "models/config_fields.hpp"
#include "models/families.hpp"
#include "models/unit_builder.hpp"

namespace fathom::models {
namespace {

// Which parameters the layers have besides the usual ones.
struct Switches {
  bool qkv_bias = false, output_bias = false, mlp_bias = false, head_norms = false;
  std::uint64_t experts = 0;
};

// What transformers takes for keys that are absent. 0: as many as there are heads; no window.
struct Defaults {
  double rope_theta = 10000, norm_eps = 1e-6;
  std::uint64_t kv_heads = 0, max_positions = 2048, window = 0;
};

Defaults defaults_of(const std::string& family) {
  if (family == "mistral") return {.kv_heads = 8, .max_positions = 4096 * 32, .window = 4096};
  if (family == "mixtral") {
    return {.rope_theta = 1e6, .norm_eps = 1e-5, .kv_heads = 8, .max_positions = 4096 * 32};
  }
  if (family == "qwen2" || family == "qwen3") {
    return {.kv_heads = 32, .max_positions = 32768, .window = 4096};
  }
  return {};
}

Result<RopeConfig> rope_of(const Fields& fields, const Defaults& defaults) {
  RopeConfig rope;
  FATHOM_ASSIGN(rope.theta, fields.positive("rope_theta", defaults.rope_theta));
  const char* key = fields.find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  const nlohmann::json* object = fields.find(key);
  if (object == nullptr) return rope;
  if (!object->is_object()) return fail(fields.bad(key, "it is not an object"));
  const Fields inner(*object, fields.origin() + ", \"" + key + "\"");
  FATHOM_ASSIGN(rope.theta, inner.positive("rope_theta", rope.theta));
  FATHOM_ASSIGN(const std::string legacy, inner.text("type", "default"));
  FATHOM_ASSIGN(const std::string type, inner.text("rope_type", legacy.c_str()));
  for (const auto& [name, value] : object->items()) {
    if (value.is_object()) {
      return fail(
          inner.unsupported(name.c_str(), "a setting per kind of layer", "one for all layers"));
    }
  }
  FATHOM_ASSIGN(const double partial, inner.positive("partial_rotary_factor", 1.0));
  if (partial != 1.0) {
    return fail(inner.unsupported("partial_rotary_factor", fmt::format("{}", partial), "1"));
  }
  if (type == "default") return rope;
  if (type != "linear" && type != "llama3") {
    return fail(inner.unsupported("rope_type", "\"" + type + "\"", "default, linear, llama3"));
  }
  FATHOM_ASSIGN(rope.factor, inner.positive("factor", std::nullopt));
  rope.kind = RopeKind::linear;
  if (type == "linear") return rope;
  rope.kind = RopeKind::llama3;
  FATHOM_ASSIGN(rope.low_frequency_factor, inner.positive("low_freq_factor", std::nullopt));
  FATHOM_ASSIGN(rope.high_frequency_factor, inner.positive("high_freq_factor", std::nullopt));
  FATHOM_ASSIGN(rope.original_max_positions,
                inner.size("original_max_position_embeddings", std::nullopt, vocabulary_limit));
  if (rope.high_frequency_factor <= rope.low_frequency_factor) {
    return fail(inner.bad("high_freq_factor", "it is not above low_freq_factor"));
  }
  return rope;
}

// Which layers look back only over a window; empty when none does.
Result<std::vector<std::uint64_t>> windows_of(const Fields& fields, const ModelSpec& spec,
                                              const Defaults& defaults) {
  std::vector<std::uint64_t> windows;
  if (spec.family == "llama") return windows;
  const bool always = spec.family == "mistral" || spec.family == "mixtral";
  FATHOM_ASSIGN(const bool used, fields.flag("use_sliding_window", always));
  // An absent key means transformers' default; an explicit null means no window.
  const bool given = fields.find("sliding_window") != nullptr;
  if (!used || (!given && (fields.has("sliding_window") || defaults.window == 0))) return windows;
  FATHOM_ASSIGN(const std::uint64_t window,
                fields.size("sliding_window", defaults.window, vocabulary_limit));
  const nlohmann::json* first = fields.find("max_window_layers");
  std::uint64_t begin = 0;
  if (!always) {
    begin = 28;
    if (first != nullptr && !first->is_number_unsigned()) {
      return fail(fields.bad("max_window_layers", "it is not a whole number"));
    }
    if (first != nullptr) begin = first->get<std::uint64_t>();
  }
  for (std::uint64_t i = 0; i < spec.layers; ++i) windows.push_back(i >= begin ? window : 0);
  if (const nlohmann::json* types = fields.find("layer_types"); types != nullptr) {
    if (!types->is_array() || types->size() != spec.layers) {
      return fail(fields.bad("layer_types", "it does not list one type per layer"));
    }
    for (std::uint64_t i = 0; i < spec.layers; ++i) {
      const nlohmann::json& type = (*types)[i];
      if (type != "full_attention" && type != "sliding_attention") {
        return fail(
            fields.unsupported("layer_types", type.dump(), "full_attention, sliding_attention"));
      }
      windows[i] = type == "sliding_attention" ? window : 0;
    }
  }
  return windows;
}

Result<void> read_sizes(const Fields& fields, const Defaults& defaults, ModelSpec& spec) {
  FATHOM_ASSIGN(spec.hidden, fields.size("hidden_size", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.intermediate, fields.size("intermediate_size", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.layers, fields.size("num_hidden_layers", std::nullopt, layer_limit));
  FATHOM_ASSIGN(spec.heads, fields.size("num_attention_heads", std::nullopt, width_limit));
  const bool null = fields.has("num_key_value_heads") || defaults.kv_heads == 0;
  FATHOM_ASSIGN(spec.kv_heads, fields.size("num_key_value_heads",
                                           null ? spec.heads : defaults.kv_heads, width_limit));
  FATHOM_ASSIGN(spec.max_positions,
                fields.size("max_position_embeddings", defaults.max_positions, vocabulary_limit));
  if (fields.find("head_dim") == nullptr && spec.family != "qwen3" &&
      spec.hidden % spec.heads != 0) {
    return fail(fields.bad("num_attention_heads", fmt::format("{} does not divide hidden_size {}",
                                                              spec.heads, spec.hidden)));
  }
  const std::uint64_t usual = spec.family == "qwen3" ? 128 : spec.hidden / spec.heads;
  FATHOM_ASSIGN(spec.head_dim, fields.size("head_dim", usual, width_limit));
  if (spec.head_dim == 0 || spec.head_dim % 2 != 0) {
    return fail(fields.bad(
        "head_dim", fmt::format("{} is odd or zero: rotary embeddings need pairs", spec.head_dim)));
  }
  if (spec.head_dim * spec.heads > width_limit) {
    return fail(fields.bad("head_dim", "heads × head_dim is beyond any model"));
  }
  if (spec.heads % spec.kv_heads != 0) {
    return fail(fields.bad("num_key_value_heads",
                           fmt::format("{} does not divide {} heads", spec.kv_heads, spec.heads)));
  }
  return {};
}

Result<Switches> read_switches(const Fields& fields, ModelSpec& spec) {
  Switches has;
  CausalConfig& config = spec.causal;
  if (spec.family == "llama") {
    FATHOM_ASSIGN(has.qkv_bias, fields.flag("attention_bias", false));
    FATHOM_ASSIGN(has.mlp_bias, fields.flag("mlp_bias", false));
    has.output_bias = has.qkv_bias;
  } else if (spec.family == "qwen2") {
    has.qkv_bias = true;
  } else if (spec.family == "qwen3") {
    FATHOM_ASSIGN(has.qkv_bias, fields.flag("attention_bias", false));
    has.output_bias = has.qkv_bias;
    has.head_norms = true;
  } else if (spec.family == "mixtral") {
    FATHOM_ASSIGN(has.experts, fields.size("num_local_experts", std::uint64_t{8}, layer_limit));
    FATHOM_ASSIGN(config.experts_per_token,
                  fields.size("num_experts_per_tok", std::uint64_t{2}, layer_limit));
    if (config.experts_per_token > has.experts) {
      return fail(fields.bad(
          "num_experts_per_tok",
          fmt::format("{} is more than the {} experts", config.experts_per_token, has.experts)));
    }
    FATHOM_CHECK(fields.require_flag("output_router_logits", false));
  }
  return has;
}

void add_experts(UnitBuilder& layer, const ModelSpec& spec, std::uint64_t experts) {
  layer.linear(Role::router, "block_sparse_moe.gate", experts, spec.hidden, false);
  const std::uint64_t before = layer.products();
  for (std::uint32_t e = 0; e < experts; ++e) {
    const std::string name = "block_sparse_moe.experts." + std::to_string(e);
    layer.linear(Role::gate, name + ".w1", spec.intermediate, spec.hidden, false, e);
    layer.linear(Role::down, name + ".w2", spec.hidden, spec.intermediate, false, e);
    layer.linear(Role::up, name + ".w3", spec.intermediate, spec.hidden, false, e);
  }
  layer.scale_products_since(before, spec.causal.experts_per_token, experts);
}

// In the order of the forward pass; names and shapes are those of the Hugging Face files.
void add_units(ModelSpec& spec, const Switches& has, double init_std) {
  const std::uint64_t hidden = spec.hidden;
  const std::uint64_t query = spec.heads * spec.head_dim, key = spec.kv_heads * spec.head_dim;

  UnitBuilder embedding("embed_tokens", UnitKind::embedding, "model.", init_std);
  embedding.table(Role::table, "embed_tokens", spec.vocabulary, hidden);
  spec.units.push_back(embedding.take());

  for (std::uint64_t i = 0; i < spec.layers; ++i) {
    const std::string name = "layers." + std::to_string(i);
    UnitBuilder layer(name, UnitKind::layer, "model." + name + ".", init_std);
    layer.norm(Role::attention_norm, "input_layernorm", hidden, false);
    layer.linear(Role::query, "self_attn.q_proj", query, hidden, has.qkv_bias);
    layer.linear(Role::key, "self_attn.k_proj", key, hidden, has.qkv_bias);
    layer.linear(Role::value, "self_attn.v_proj", key, hidden, has.qkv_bias);
    layer.linear(Role::output, "self_attn.o_proj", hidden, query, has.output_bias);
    if (has.head_norms) {
      layer.norm(Role::query_norm, "self_attn.q_norm", spec.head_dim, false);
      layer.norm(Role::key_norm, "self_attn.k_norm", spec.head_dim, false);
    }
    layer.norm(Role::mlp_norm, "post_attention_layernorm", hidden, false);
    if (has.experts != 0) {
      add_experts(layer, spec, has.experts);
    } else {
      layer.linear(Role::gate, "mlp.gate_proj", spec.intermediate, hidden, has.mlp_bias);
      layer.linear(Role::up, "mlp.up_proj", spec.intermediate, hidden, has.mlp_bias);
      layer.linear(Role::down, "mlp.down_proj", hidden, spec.intermediate, has.mlp_bias);
    }
    spec.units.push_back(layer.take());
  }

  UnitBuilder head("head", UnitKind::head, "", init_std);
  head.norm(Role::final_norm, "model.norm", hidden, false);
  if (spec.tied_head) {
    head.shared_product(spec.vocabulary * hidden);
  } else {
    head.linear(Role::head, "lm_head", spec.vocabulary, hidden, false);
  }
  spec.units.push_back(head.take());
}

}  // namespace

Result<void> read_llama(const Fields& fields, ModelSpec& spec) {
  const Defaults defaults = defaults_of(spec.family);
  FATHOM_CHECK(read_sizes(fields, defaults, spec));
  FATHOM_ASSIGN(spec.tied_head, fields.flag("tie_word_embeddings", false));
  CausalConfig& config = spec.causal;
  FATHOM_ASSIGN(config.rope, rope_of(fields, defaults));
  FATHOM_ASSIGN(config.norm_eps, fields.positive("rms_norm_eps", defaults.norm_eps));
  FATHOM_ASSIGN(config.activation, activation_of(fields, "hidden_act", "silu"));
  FATHOM_ASSIGN(config.windows, windows_of(fields, spec, defaults));
  FATHOM_ASSIGN(const double partial, fields.positive("partial_rotary_factor", 1.0));
  if (partial != 1.0) {
    return fail(fields.unsupported("partial_rotary_factor", fmt::format("{}", partial), "1"));
  }
  FATHOM_ASSIGN(const Switches has, read_switches(fields, spec));
  config.padding_token = spec.pad_token;
  FATHOM_ASSIGN(const double init_std, fields.positive("initializer_range", 0.02));
  add_units(spec, has, init_std);
  chain_carries(spec);
  spec.optional_prefix = "model.";
  spec.surplus = {"layers.*.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq"};
  return {};
}

std::vector<float> rope_frequencies(const RopeConfig& rope, std::uint64_t head_dim) {
  std::vector<float> frequencies(head_dim / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    float f = 1.0F / std::pow(static_cast<float>(rope.theta), exponent);
    const float factor = static_cast<float>(rope.factor);
    if (rope.kind == RopeKind::linear) f /= factor;
    if (rope.kind == RopeKind::llama3) {
      const float low = static_cast<float>(rope.low_frequency_factor);
      const float high = static_cast<float>(rope.high_frequency_factor);
      const float original = static_cast<float>(rope.original_max_positions);
      const float wavelength = 2.0F * std::numbers::pi_v<float> / f;
      if (wavelength > original / low) {
        f /= factor;
      } else if (wavelength >= original / high) {
        const float smooth = (original / wavelength - low) / (high - low);
        f = (1.0F - smooth) * f / factor + smooth * f;
      }
    }
    frequencies[i] = f;
  }
  return frequencies;
}

}  // namespace fathom::models
