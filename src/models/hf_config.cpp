// SPDX-License-Identifier: Apache-2.0
#include "models/hf_config.hpp"

#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/units.hpp"
#include "models/llama_units.hpp"
#include "models/text_file.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;
constexpr std::uint64_t config_limit = 16 * MiB;
// Sizes above these are damage, not models; below them no product of sizes overflows 64 bits.
constexpr std::uint64_t width_limit = 1U << 22, vocabulary_limit = 1U << 30, layer_limit = 1U << 16;

// Typed access to one JSON object with Errors that name file and key.
class Fields {
 public:
  Fields(const Json& object, std::string origin) : object_(object), origin_(std::move(origin)) {}

  // null counts as absent, as in transformers.
  const Json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  bool has(const char* key) const { return object_.contains(key); }

  Result<std::uint64_t> size(const char* key, std::optional<std::uint64_t> otherwise,
                             std::uint64_t limit) const {
    const Json* value = find(key);
    if (value == nullptr) {
      if (otherwise) return *otherwise;
      return fail(bad(key, "the key is missing"));
    }
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() == 0 ||
        value->get<std::uint64_t>() > limit) {
      return fail(
          bad(key, fmt::format("{} is not a whole number from 1 to {}", value->dump(), limit)));
    }
    return value->get<std::uint64_t>();
  }

  Result<double> positive(const char* key, std::optional<double> otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) {
      if (otherwise) return *otherwise;
      return fail(bad(key, "the key is missing"));
    }
    if (!value->is_number() || !(value->get<double>() > 0) ||
        !std::isfinite(value->get<double>())) {
      return fail(bad(key, fmt::format("{} is not a positive number", value->dump())));
    }
    return value->get<double>();
  }

  Result<bool> flag(const char* key, bool otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) {
      return fail(bad(key, fmt::format("{} is neither true nor false", value->dump())));
    }
    return value->get<bool>();
  }

  Result<std::string> text(const char* key, const char* otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) return std::string(otherwise);
    if (!value->is_string()) return fail(bad(key, fmt::format("{} is not a text", value->dump())));
    return value->get<std::string>();
  }

  // One token id or a list of them.
  Result<std::vector<std::int64_t>> tokens(const char* key) const {
    std::vector<std::int64_t> ids;
    const Json* value = find(key);
    if (value == nullptr) return ids;
    const Json list = value->is_array() ? *value : Json::array({*value});
    for (const Json& id : list) {
      if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= vocabulary_limit) {
        return fail(bad(key, fmt::format("{} is not a token id", id.dump())));
      }
      ids.push_back(id.get<std::int64_t>());
    }
    return ids;
  }

  Error bad(const char* key, std::string_view why) const {
    return Error(Errc::bad_input, "read the model's configuration")
        .on(fmt::format("{}, key \"{}\"", origin_, key))
        .because(why)
        .remedy("correct the key, or fetch the file again");
  }
  Error unsupported(const char* key, std::string_view value, std::string_view supported) const {
    return Error(Errc::unsupported, "read the model's configuration")
        .on(fmt::format("{}, key \"{}\"", origin_, key))
        .because(fmt::format("{} is not supported", value))
        .remedy(fmt::format("supported: {}", supported));
  }
  const std::string& origin() const { return origin_; }

 private:
  const Json& object_;
  std::string origin_;
};

Result<std::string> family_of(const Fields& fields) {
  FATHOM_ASSIGN(std::string family, fields.text("model_type", ""));
  if (family.empty()) {
    const Json* names = fields.find("architectures");
    const bool named = names != nullptr && names->is_array() && names->size() == 1;
    if (named && names->front() == "LlamaForCausalLM") family = "llama";
    if (family.empty()) return fail(fields.bad("model_type", "the key is missing"));
  }
  for (const char* known : {"llama", "mistral", "qwen2", "qwen3"}) {
    if (family == known) return family;
  }
  return fail(
      fields.unsupported("model_type", "\"" + family + "\"", "llama, mistral, qwen2, qwen3"));
}

Result<Activation> activation_of(const Fields& fields) {
  static constexpr std::array<std::pair<const char*, Activation>, 6> known = {
      {{"silu", Activation::silu},
       {"swish", Activation::silu},
       {"gelu", Activation::gelu},
       {"gelu_new", Activation::gelu_tanh},
       {"gelu_pytorch_tanh", Activation::gelu_tanh},
       {"relu", Activation::relu}}};
  FATHOM_ASSIGN(const std::string name, fields.text("hidden_act", "silu"));
  for (const auto& [text, activation] : known) {
    if (name == text) return activation;
  }
  return fail(fields.unsupported("hidden_act", "\"" + name + "\"",
                                 "silu, swish, gelu, gelu_new, gelu_pytorch_tanh, relu"));
}

Result<RopeConfig> rope_of(const Fields& fields) {
  RopeConfig rope;
  FATHOM_ASSIGN(rope.theta, fields.positive("rope_theta", 10000.0));
  const char* key = fields.find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  const Json* object = fields.find(key);
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
Result<std::vector<std::uint64_t>> windows_of(const Fields& fields, const ModelSpec& spec) {
  std::vector<std::uint64_t> windows;
  if (spec.family == "llama") return windows;
  FATHOM_ASSIGN(const bool used, fields.flag("use_sliding_window", spec.family == "mistral"));
  // An absent key means transformers' default; an explicit null means no window.
  if (!used || (fields.has("sliding_window") && fields.find("sliding_window") == nullptr)) {
    return windows;
  }
  FATHOM_ASSIGN(const std::uint64_t window,
                fields.size("sliding_window", std::uint64_t{4096}, vocabulary_limit));
  const Json* first = fields.find("max_window_layers");
  std::uint64_t begin = 0;
  if (spec.family != "mistral") {
    begin = 28;
    if (first != nullptr && !first->is_number_unsigned()) {
      return fail(fields.bad("max_window_layers", "it is not a whole number"));
    }
    if (first != nullptr) begin = first->get<std::uint64_t>();
  }
  for (std::uint64_t i = 0; i < spec.layers; ++i) windows.push_back(i >= begin ? window : 0);
  if (const Json* types = fields.find("layer_types"); types != nullptr) {
    if (!types->is_array() || types->size() != spec.layers) {
      return fail(fields.bad("layer_types", "it does not list one type per layer"));
    }
    for (std::uint64_t i = 0; i < spec.layers; ++i) {
      const Json& type = (*types)[i];
      if (type != "full_attention" && type != "sliding_attention") {
        return fail(
            fields.unsupported("layer_types", type.dump(), "full_attention, sliding_attention"));
      }
      windows[i] = type == "sliding_attention" ? window : 0;
    }
  }
  return windows;
}

Result<void> read_sizes(const Fields& fields, ModelSpec& spec) {
  FATHOM_ASSIGN(spec.vocabulary, fields.size("vocab_size", std::nullopt, vocabulary_limit));
  FATHOM_ASSIGN(spec.hidden, fields.size("hidden_size", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.intermediate, fields.size("intermediate_size", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.layers, fields.size("num_hidden_layers", std::nullopt, layer_limit));
  FATHOM_ASSIGN(spec.heads, fields.size("num_attention_heads", std::nullopt, width_limit));
  FATHOM_ASSIGN(spec.kv_heads, fields.size("num_key_value_heads", spec.heads, width_limit));
  FATHOM_ASSIGN(spec.max_positions,
                fields.size("max_position_embeddings", std::uint64_t{2048}, vocabulary_limit));
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

Result<std::string> dtype_of(const Fields& fields) {
  FATHOM_ASSIGN(const std::string older, fields.text("torch_dtype", "float32"));
  FATHOM_ASSIGN(std::string dtype, fields.text("dtype", older.c_str()));
  for (const char* known : {"float32", "bfloat16", "float16"}) {
    if (dtype == known) return dtype;
  }
  return fail(fields.unsupported("torch_dtype", "\"" + dtype + "\"", "float32, bfloat16, float16"));
}

Result<void> read_llama(const Fields& fields, ModelSpec& spec) {
  LlamaConfig& llama = spec.llama;
  FATHOM_ASSIGN(llama.rope, rope_of(fields));
  FATHOM_ASSIGN(llama.norm_eps, fields.positive("rms_norm_eps", 1e-6));
  FATHOM_ASSIGN(llama.activation, activation_of(fields));
  FATHOM_ASSIGN(llama.windows, windows_of(fields, spec));
  FATHOM_ASSIGN(const double partial, fields.positive("partial_rotary_factor", 1.0));
  if (partial != 1.0) {
    return fail(fields.unsupported("partial_rotary_factor", fmt::format("{}", partial), "1"));
  }
  if (spec.family == "llama") {
    FATHOM_ASSIGN(llama.qkv_bias, fields.flag("attention_bias", false));
    FATHOM_ASSIGN(llama.mlp_bias, fields.flag("mlp_bias", false));
    llama.output_bias = llama.qkv_bias;
  } else if (spec.family == "qwen2") {
    llama.qkv_bias = true;
  } else if (spec.family == "qwen3") {
    FATHOM_ASSIGN(llama.qkv_bias, fields.flag("attention_bias", false));
    llama.output_bias = llama.qkv_bias;
    llama.head_norms = true;
  }
  FATHOM_ASSIGN(const std::vector<std::int64_t> padding, fields.tokens("pad_token_id"));
  if (padding.size() == 1 && static_cast<std::uint64_t>(padding[0]) < spec.vocabulary) {
    llama.padding_token = padding[0];
  }
  return {};
}

}  // namespace

Result<ModelSpec> parse_config(std::string_view json, std::string_view origin) {
  FATHOM_ASSIGN(const Json root, parse_json(json, origin));
  const Fields fields(root, std::string(origin));
  if (!root.is_object()) {
    return fail(Error(Errc::bad_input, "read the model's configuration")
                    .on(origin)
                    .because("it is not a JSON object")
                    .remedy("give the config.json of a Hugging Face model"));
  }
  if (fields.find("quantization_config") != nullptr) {
    return fail(fields.unsupported("quantization_config", "a quantised model",
                                   "float32, bfloat16 or float16 weights"));
  }
  ModelSpec spec;
  FATHOM_ASSIGN(spec.family, family_of(fields));
  FATHOM_CHECK(read_sizes(fields, spec));
  FATHOM_ASSIGN(spec.dtype, dtype_of(fields));
  FATHOM_ASSIGN(spec.tied_head, fields.flag("tie_word_embeddings", false));
  FATHOM_ASSIGN(const std::vector<std::int64_t> bos, fields.tokens("bos_token_id"));
  if (!bos.empty()) spec.bos_token = bos.front();
  FATHOM_ASSIGN(spec.eos_tokens, fields.tokens("eos_token_id"));
  FATHOM_CHECK(read_llama(fields, spec));
  FATHOM_ASSIGN(const double init_std, fields.positive("initializer_range", 0.02));
  spec.units = llama_units(spec, init_std);
  return spec;
}

Result<ModelSpec> load_config(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool directory = std::filesystem::is_directory(path, ignored);
  const std::filesystem::path file = directory ? path / "config.json" : path;
  FATHOM_ASSIGN(const std::string text, read_text_file(file, config_limit));
  FATHOM_ASSIGN(ModelSpec spec, parse_config(text, file.string()));
  const std::filesystem::path generation = path / "generation_config.json";
  if (directory && std::filesystem::exists(generation, ignored)) {
    FATHOM_ASSIGN(const std::string more, read_text_file(generation, config_limit));
    FATHOM_ASSIGN(const Json root, parse_json(more, generation.string()));
    if (root.is_object()) {
      FATHOM_ASSIGN(std::vector<std::int64_t> eos,
                    Fields(root, generation.string()).tokens("eos_token_id"));
      if (!eos.empty()) spec.eos_tokens = std::move(eos);
    }
  }
  return spec;
}

}  // namespace fathom::models
