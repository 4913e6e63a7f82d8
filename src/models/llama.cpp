// SPDX-License-Identifier: Apache-2.0
#include "models/llama.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>

#include "base/assert.hpp"
#include "models/attention.hpp"

namespace fathom::models {
namespace {

using Parameters = std::span<const at::Tensor>;

// Where a parameter stands in its unit's list; absent parameters (biases, head norms) have none.
class Slot {
 public:
  Slot(const UnitSpec& unit, std::string_view suffix) {
    for (std::size_t i = 0; i < unit.parameters.size(); ++i) {
      if (unit.parameters[i].name.ends_with(suffix)) index_ = i;
    }
  }
  bool present() const { return index_.has_value(); }
  const at::Tensor& of(Parameters parameters) const {
    FATHOM_ASSERT(index_ && *index_ < parameters.size(), "a unit was bound to too few parameters");
    return parameters[*index_];
  }

 private:
  std::optional<std::size_t> index_;
};

struct Linear {
  Linear(const UnitSpec& unit, const std::string& name)
      : weight(unit, name + ".weight"), bias(unit, name + ".bias") {}
  at::Tensor operator()(Parameters parameters, const at::Tensor& x) const {
    const auto add = bias.present() ? std::optional(bias.of(parameters)) : std::nullopt;
    return at::linear(x, weight.of(parameters), add);
  }
  Slot weight, bias;
};

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = wide.square().mean({-1}, true).add_(eps).rsqrt_();
  at::Tensor normed = wide.mul(scale).to(x.scalar_type());
  return at::GradMode::is_enabled() ? normed.mul(weight) : normed.mul_(weight);
}

at::Tensor activate(at::Tensor x, Activation kind) {
  const bool keep = at::GradMode::is_enabled();
  switch (kind) {
    case Activation::silu: return keep ? at::silu(x) : at::silu_(x);
    case Activation::relu: return keep ? at::relu(x) : at::relu_(x);
    case Activation::gelu: return keep ? at::gelu(x, "none") : at::gelu_(x, "none");
    case Activation::gelu_tanh: return keep ? at::gelu(x, "tanh") : at::gelu_(x, "tanh");
  }
  return x;
}

class Embedding final : public Block {
 public:
  explicit Embedding(const ModelSpec& spec) : padding_(spec.llama.padding_token.value_or(-1)) {}

  TensorList forward(Parameters parameters, const TensorList&, const BatchContext& batch,
                     LayerCache*) const override {
    return {at::embedding(parameters[0], batch.input_ids, padding_)};
  }

 private:
  std::int64_t padding_;
};

class DecoderLayer final : public Block {
 public:
  DecoderLayer(const ModelSpec& spec, std::uint64_t layer, const UnitSpec& unit)
      : config_(spec.llama),
        frequencies_(rope_frequencies(spec.llama.rope, spec.head_dim)),
        head_dim_(static_cast<std::int64_t>(spec.head_dim)),
        window_(spec.llama.window(layer)),
        input_norm_(unit, "input_layernorm.weight"),
        query_norm_(unit, "q_norm.weight"),
        key_norm_(unit, "k_norm.weight"),
        mlp_norm_(unit, "post_attention_layernorm.weight"),
        query_(unit, "q_proj"),
        key_(unit, "k_proj"),
        value_(unit, "v_proj"),
        output_(unit, "o_proj"),
        gate_(unit, "gate_proj"),
        up_(unit, "up_proj"),
        down_(unit, "down_proj") {}

  TensorList forward(Parameters parameters, const TensorList& carry, const BatchContext& batch,
                     LayerCache* cache) const override {
    FATHOM_ASSERT(carry.size() == 1, "a decoder layer takes one tensor");
    const at::Tensor& x = carry.front();
    at::Tensor middle = attention(parameters, x, batch, cache);
    middle.add_(x);  // fresh and not saved for the gradient
    at::Tensor out = mlp(parameters, middle);
    out.add_(middle);
    return {out};
  }

 private:
  at::Tensor attention(Parameters parameters, const at::Tensor& x, const BatchContext& batch,
                       LayerCache* cache) const {
    const std::int64_t past = cache != nullptr ? cache->length : 0, fresh = x.size(1);
    at::Tensor q, k, v;
    {
      const at::Tensor normed = rms_norm(x, input_norm_.of(parameters), config_.norm_eps);
      q = split_heads(query_(parameters, normed));
      k = split_heads(key_(parameters, normed));
      v = split_heads(value_(parameters, normed)).transpose(1, 2);
    }
    if (config_.head_norms) {
      q = rms_norm(q, query_norm_.of(parameters), config_.norm_eps);
      k = rms_norm(k, key_norm_.of(parameters), config_.norm_eps);
    }
    {
      const Rotation angles = rotation(batch.positions, frequencies_, x.scalar_type());
      q = rotate(q.transpose(1, 2), angles);
      k = rotate(k.transpose(1, 2), angles);
    }
    if (cache != nullptr) {
      FATHOM_ASSERT(past + fresh <= cache->keys.size(2), "a KV cache that is too small");
      cache->keys.narrow(2, past, fresh).copy_(k);
      cache->values.narrow(2, past, fresh).copy_(v);
      k = cache->keys.narrow(2, 0, past + fresh);
      v = cache->values.narrow(2, 0, past + fresh);
    }
    const Visibility visible = visibility(batch.mask, fresh, past, window_, x.options());
    at::Tensor mixed = attend(q, k, v, visible);
    q.reset();
    k.reset();
    v.reset();
    return output_(parameters, mixed);
  }

  at::Tensor mlp(Parameters parameters, const at::Tensor& x) const {
    at::Tensor product;
    {
      const at::Tensor normed = rms_norm(x, mlp_norm_.of(parameters), config_.norm_eps);
      at::Tensor gate = activate(gate_(parameters, normed), config_.activation);
      const at::Tensor up = up_(parameters, normed);
      product = at::GradMode::is_enabled() ? gate.mul(up) : gate.mul_(up);
    }
    return down_(parameters, product);
  }

  // [b, s, heads · d] -> [b, s, heads, d]
  at::Tensor split_heads(const at::Tensor& x) const {
    return x.view({x.size(0), x.size(1), -1, head_dim_});
  }

  LlamaConfig config_;
  std::vector<float> frequencies_;
  std::int64_t head_dim_;
  std::uint64_t window_;
  Slot input_norm_, query_norm_, key_norm_, mlp_norm_;
  Linear query_, key_, value_, output_, gate_, up_, down_;
};

class LlamaHead final : public Head {
 public:
  explicit LlamaHead(const ModelSpec& spec) : eps_(spec.llama.norm_eps) {}

  at::Tensor logits(Parameters parameters, const at::Tensor& hidden) const override {
    FATHOM_ASSERT(parameters.size() == 2, "the head takes its norm and one matrix");
    return at::linear(rms_norm(hidden, parameters[0], eps_), parameters[1]);
  }

 private:
  double eps_;
};

}  // namespace

Result<Model> make_llama(const ModelSpec& spec) {
  Model model;
  model.spec = spec;
  for (std::size_t i = 0; i < spec.units.size(); ++i) {
    const UnitSpec& unit = spec.units[i];
    switch (unit.kind) {
      case UnitKind::embedding: model.blocks.push_back(std::make_unique<Embedding>(spec)); break;
      case UnitKind::layer:
        model.blocks.push_back(std::make_unique<DecoderLayer>(spec, i - 1, unit));
        break;
      case UnitKind::head: model.head = std::make_unique<LlamaHead>(spec); break;
    }
  }
  FATHOM_ASSERT(model.head != nullptr && model.blocks.size() == spec.layers + 1,
                "a specification without its units");
  return model;
}

Result<Model> make_model(const ModelSpec& spec) {
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3"}) {
    if (spec.family == family) return make_llama(spec);
  }
  return fail(Error(Errc::unsupported, "build a model")
                  .on("family \"" + spec.family + "\"")
                  .because("this build has no blocks for it")
                  .remedy("supported: llama, mistral, qwen2, qwen3"));
}

}  // namespace fathom::models
