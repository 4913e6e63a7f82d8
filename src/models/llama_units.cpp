// SPDX-License-Identifier: Apache-2.0
#include "models/llama_units.hpp"

#include <cmath>
#include <cstddef>
#include <numbers>
#include <string>
#include <utility>

namespace fathom::models {
namespace {

class UnitBuilder {
 public:
  UnitBuilder(std::string name, UnitKind kind, std::string prefix, double init_std)
      : prefix_(std::move(prefix)), init_std_(init_std) {
    unit_.name = std::move(name);
    unit_.kind = kind;
  }

  void norm(const std::string& name, std::uint64_t size) {
    unit_.parameters.push_back({prefix_ + name + ".weight", {as_signed(size)}, Init::ones, 0});
  }
  void linear(const std::string& name, std::uint64_t out, std::uint64_t in, bool bias) {
    unit_.parameters.push_back(
        {prefix_ + name + ".weight", {as_signed(out), as_signed(in)}, Init::normal, init_std_});
    if (bias)
      unit_.parameters.push_back({prefix_ + name + ".bias", {as_signed(out)}, Init::zeros, 0});
    unit_.matmul_elements += out * in;
  }
  void table(const std::string& name, std::uint64_t rows, std::uint64_t width) {
    unit_.parameters.push_back(
        {prefix_ + name + ".weight", {as_signed(rows), as_signed(width)}, Init::normal, init_std_});
  }
  // A product with a weight that another unit owns.
  void shared_product(std::uint64_t elements) { unit_.matmul_elements += elements; }

  UnitSpec take() { return std::move(unit_); }

 private:
  static std::int64_t as_signed(std::uint64_t size) { return static_cast<std::int64_t>(size); }

  std::string prefix_;
  double init_std_;
  UnitSpec unit_;
};

}  // namespace

std::vector<UnitSpec> llama_units(const ModelSpec& spec, double init_std) {
  const LlamaConfig& config = spec.llama;
  const std::uint64_t hidden = spec.hidden;
  const std::uint64_t query = spec.heads * spec.head_dim, key = spec.kv_heads * spec.head_dim;
  std::vector<UnitSpec> units;

  UnitBuilder embedding("embed_tokens", UnitKind::embedding, "model.", init_std);
  embedding.table("embed_tokens", spec.vocabulary, hidden);
  units.push_back(embedding.take());

  for (std::uint64_t i = 0; i < spec.layers; ++i) {
    const std::string name = "layers." + std::to_string(i);
    UnitBuilder layer(name, UnitKind::layer, "model." + name + ".", init_std);
    layer.norm("input_layernorm", hidden);
    layer.linear("self_attn.q_proj", query, hidden, config.qkv_bias);
    layer.linear("self_attn.k_proj", key, hidden, config.qkv_bias);
    layer.linear("self_attn.v_proj", key, hidden, config.qkv_bias);
    layer.linear("self_attn.o_proj", hidden, query, config.output_bias);
    if (config.head_norms) {
      layer.norm("self_attn.q_norm", spec.head_dim);
      layer.norm("self_attn.k_norm", spec.head_dim);
    }
    layer.norm("post_attention_layernorm", hidden);
    layer.linear("mlp.gate_proj", spec.intermediate, hidden, config.mlp_bias);
    layer.linear("mlp.up_proj", spec.intermediate, hidden, config.mlp_bias);
    layer.linear("mlp.down_proj", hidden, spec.intermediate, config.mlp_bias);
    units.push_back(layer.take());
  }

  UnitBuilder head("head", UnitKind::head, "", init_std);
  head.norm("model.norm", hidden);
  if (spec.tied_head) {
    head.shared_product(spec.vocabulary * hidden);
  } else {
    head.linear("lm_head", spec.vocabulary, hidden, false);
  }
  units.push_back(head.take());
  return units;
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
