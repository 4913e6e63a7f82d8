// SPDX-License-Identifier: Apache-2.0
//
// T5 and T0: an encoder and a decoder with relative positions; versions 1.0 and 1.1.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "models/config_fields.hpp"
#include "models/families.hpp"
#include "models/unit_builder.hpp"

namespace fathom::models {
namespace {

Result<void> read_sizes(const Fields& fields, ModelSpec& spec) {
  T5Config& t5 = spec.t5;
  FATHOM_ASSIGN(spec.hidden, fields.size("d_model", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.intermediate, fields.size("d_ff", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.head_dim, fields.size("d_kv", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.heads, fields.size("num_heads", std::nullopt, width_limit));
  FATHOM_ASSIGN(t5.encoder_layers, fields.size("num_layers", std::nullopt, layer_limit));
  FATHOM_ASSIGN(t5.decoder_layers,
                fields.size("num_decoder_layers", t5.encoder_layers, layer_limit));
  FATHOM_ASSIGN(t5.buckets,
                fields.size("relative_attention_num_buckets", std::uint64_t{32}, width_limit));
  FATHOM_ASSIGN(t5.max_distance, fields.size("relative_attention_max_distance", std::uint64_t{128},
                                             vocabulary_limit));
  if (spec.heads * spec.head_dim > width_limit) {
    return fail(fields.bad("d_kv", "num_heads × d_kv is beyond any model"));
  }
  // Each direction has half of the buckets, and half of those are for single distances.
  if (t5.buckets < 4 || t5.buckets % 2 != 0) {
    return fail(fields.bad("relative_attention_num_buckets",
                           fmt::format("{} is not an even number from 4 on", t5.buckets)));
  }
  if (t5.max_distance <= t5.buckets / 2) {
    return fail(fields.bad(
        "relative_attention_max_distance",
        fmt::format("{} is not beyond half of the {} buckets", t5.max_distance, t5.buckets)));
  }
  spec.kv_heads = spec.heads;
  spec.layers = t5.encoder_layers + t5.decoder_layers;
  spec.max_positions = vocabulary_limit;  // relative positions know no end
  return {};
}

// "relu", "gated-gelu", …; returns whether it is gated.
Result<bool> read_feed_forward(const Fields& fields, T5Config& t5) {
  constexpr const char* key = "feed_forward_proj";
  constexpr std::string_view gated = "gated-";
  FATHOM_ASSIGN(std::string name, fields.text(key, "relu"));
  const bool has_gate = name.starts_with(gated);
  if (has_gate) name.erase(0, gated.size());
  // As in transformers: the gated form means the tanh form.
  if (has_gate && name == "gelu") name = "gelu_new";
  FATHOM_ASSIGN(t5.activation, activation_named(fields, key, name));
  return has_gate;
}

class Units {
 public:
  Units(ModelSpec& spec, bool gated, double factor) : spec_(spec), gated_(gated), factor_(factor) {}

  void add() {
    UnitBuilder embedding("embed_tokens", UnitKind::embedding, "", factor_);
    embedding.table(Role::table, "shared", spec_.vocabulary, spec_.hidden);
    spec_.units.push_back(embedding.take());
    for (std::uint64_t i = 0; i < spec_.t5.encoder_layers; ++i) add_layer("encoder", i, false);
    for (std::uint64_t i = 0; i < spec_.t5.decoder_layers; ++i) add_layer("decoder", i, true);
    UnitBuilder head("head", UnitKind::head, "", factor_);
    head.side(Side::target);
    head.norm(Role::final_norm, "decoder.final_layer_norm", spec_.hidden, false);
    if (spec_.tied_head) {
      head.shared_product(spec_.vocabulary * spec_.hidden);
    } else {
      head.linear(Role::head, "lm_head", spec_.vocabulary, spec_.hidden, false);
    }
    spec_.units.push_back(head.take());
  }

  // The encoder's input and the decoder's come out of the embedding; the latter passes the encoder
  // by. Each stack's table of relative positions goes from its first layer to the others.
  // Inputs: what flows through the stack, then, in the decoder, the encoder's output, then the
  // table.
  void connect() {
    const auto encoder = static_cast<std::uint32_t>(spec_.t5.encoder_layers);
    const auto decoder = static_cast<std::uint32_t>(spec_.t5.decoder_layers);
    const std::uint32_t first = encoder + 1, head = first + decoder;
    std::uint32_t table = 0, flow = hand_on(Side::source, 0, 1);
    const std::uint32_t target = hand_on(Side::target, 0, first);
    for (std::uint32_t u = 1; u <= encoder; ++u) {
      spec_.units[u].inputs = {flow};
      if (u > 1) spec_.units[u].inputs.push_back(table);
      flow = hand_on(Side::source, u, u == encoder ? head - 1 : u + 1);
      if (u == 1 && encoder > 1) table = hand_on_table(u, encoder);
    }
    const std::uint32_t encoded = std::exchange(flow, target);
    for (std::uint32_t u = first; u < head; ++u) {
      spec_.units[u].inputs = {flow, encoded};
      if (u > first) spec_.units[u].inputs.push_back(table);
      flow = hand_on(Side::target, u, u + 1);
      if (u == first && decoder > 1) table = hand_on_table(u, head - 1);
    }
    spec_.units[head].inputs = {flow};
    for (std::uint32_t c = 0; c < spec_.carries.size(); ++c) {
      const auto uses = [c](const UnitSpec& unit) { return std::ranges::count(unit.inputs, c); };
      std::ptrdiff_t users = 0;
      for (const UnitSpec& unit : spec_.units) users += uses(unit);
      spec_.carries[c].shared = users > 1;
    }
  }

 private:
  std::uint32_t add_carry(const CarrySpec& carry) {
    const auto id = static_cast<std::uint32_t>(spec_.carries.size());
    spec_.carries.push_back(carry);
    spec_.units[carry.producer].outputs.push_back(id);
    return id;
  }
  std::uint32_t hand_on(Side side, std::uint32_t producer, std::uint32_t last_user) {
    return add_carry(
        {.side = side, .width = spec_.hidden, .producer = producer, .last_user = last_user});
  }
  std::uint32_t hand_on_table(std::uint32_t producer, std::uint32_t last_user) {
    return add_carry({.rows = spec_.t5.buckets,
                      .width = spec_.heads,
                      .producer = producer,
                      .last_user = last_user});
  }

  double inverse_root(std::uint64_t size) const {
    return factor_ / std::sqrt(static_cast<double>(size));
  }

  void add_layer(const std::string& stack, std::uint64_t index, bool decodes) {
    const std::uint64_t hidden = spec_.hidden, inner = spec_.heads * spec_.head_dim;
    const std::string name = stack + ".block." + std::to_string(index);
    UnitBuilder layer(name, UnitKind::layer, name + ".layer.", inverse_root(hidden));
    layer.side(decodes ? Side::target : Side::source);
    const double query_std = inverse_root(hidden * spec_.head_dim),
                 output_std = inverse_root(inner);
    layer.norm(Role::attention_norm, "0.layer_norm", hidden, false);
    layer.linear(Role::query, "0.SelfAttention.q", inner, hidden, false, 0, query_std);
    layer.linear(Role::key, "0.SelfAttention.k", inner, hidden, false);
    layer.linear(Role::value, "0.SelfAttention.v", inner, hidden, false);
    layer.linear(Role::output, "0.SelfAttention.o", hidden, inner, false, 0, output_std);
    if (index == 0) {
      layer.table(Role::relative_bias, "0.SelfAttention.relative_attention_bias", spec_.t5.buckets,
                  spec_.heads);
    }
    if (decodes) {
      layer.norm(Role::cross_norm, "1.layer_norm", hidden, false);
      layer.linear(Role::cross_query, "1.EncDecAttention.q", inner, hidden, false, 0, query_std);
      layer.source_linear(Role::cross_key, "1.EncDecAttention.k", inner, hidden);
      layer.source_linear(Role::cross_value, "1.EncDecAttention.v", inner, hidden);
      layer.linear(Role::cross_output, "1.EncDecAttention.o", hidden, inner, false, 0, output_std);
    }
    const std::string last = decodes ? "2." : "1.", dense = last + "DenseReluDense.";
    layer.norm(Role::mlp_norm, last + "layer_norm", hidden, false);
    if (gated_) layer.linear(Role::gate, dense + "wi_0", spec_.intermediate, hidden, false);
    layer.linear(Role::up, dense + (gated_ ? "wi_1" : "wi"), spec_.intermediate, hidden, false);
    layer.linear(Role::down, dense + "wo", hidden, spec_.intermediate, false, 0,
                 inverse_root(spec_.intermediate));
    // The encoder ends with a norm; it travels with the last layer.
    if (!decodes && index + 1 == spec_.t5.encoder_layers) {
      layer.bare_norm(Role::final_norm, "encoder.final_layer_norm", hidden);
    }
    spec_.units.push_back(layer.take());
  }

  ModelSpec& spec_;
  bool gated_;
  double factor_;
};

}  // namespace

Result<void> read_t5(const Fields& fields, ModelSpec& spec) {
  FATHOM_CHECK(fields.require_flag("is_encoder_decoder", true));
  FATHOM_CHECK(read_sizes(fields, spec));
  spec.encoder_decoder = true;
  FATHOM_ASSIGN(const bool gated, read_feed_forward(fields, spec.t5));
  FATHOM_ASSIGN(spec.t5.norm_eps, fields.positive("layer_norm_epsilon", 1e-6));
  FATHOM_ASSIGN(spec.tied_head, fields.flag("tie_word_embeddings", true));
  FATHOM_ASSIGN(const bool scaled, fields.flag("scale_decoder_outputs", spec.tied_head));
  if (scaled) spec.t5.logit_scale = 1 / std::sqrt(static_cast<double>(spec.hidden));
  if (!spec.pad_token && !fields.has("pad_token_id")) spec.pad_token = 0;
  if (spec.eos_tokens.empty() && !fields.has("eos_token_id")) spec.eos_tokens = {1};
  FATHOM_ASSIGN(const std::vector<std::int64_t> start, fields.tokens("decoder_start_token_id"));
  spec.decoder_start_token = start.empty() ? spec.pad_token : start.front();
  if (!spec.decoder_start_token ||
      static_cast<std::uint64_t>(*spec.decoder_start_token) >= spec.vocabulary) {
    return fail(
        fields.bad("decoder_start_token_id", "the key is missing or not in the vocabulary"));
  }
  FATHOM_ASSIGN(const double factor, fields.positive("initializer_factor", 1.0));
  Units units(spec, gated, factor);
  units.add();
  units.connect();
  spec.surplus = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
                  "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"};
  return {};
}

std::uint64_t relative_bucket(std::int64_t distance, bool bidirectional, std::uint64_t buckets,
                              std::uint64_t max_distance) {
  std::uint64_t first = 0;
  if (bidirectional) {
    buckets /= 2;
    if (distance > 0) first = buckets;
  } else {
    distance = std::min<std::int64_t>(distance, 0);
  }
  const auto away = static_cast<std::uint64_t>(distance < 0 ? -distance : distance);
  const std::uint64_t exact = buckets / 2;
  if (away < exact) return first + away;
  // In fp32, as the reference: a double would put some distances into the next bucket.
  const float ratio =
      std::log(static_cast<float>(away) / static_cast<float>(exact)) /
      static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact)));
  const auto more = static_cast<std::uint64_t>(ratio * static_cast<float>(buckets - exact));
  return first + std::min(exact + more, buckets - 1);
}

}  // namespace fathom::models
