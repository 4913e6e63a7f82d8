// SPDX-License-Identifier: Apache-2.0
#include "models/causal.hpp"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>

#include "base/assert.hpp"
#include "models/attention.hpp"
#include "models/families.hpp"
#include "models/layers.hpp"
#include "models/t5.hpp"

namespace fathom::models {
namespace {

class Embedding final : public Block {
 public:
  explicit Embedding(const ModelSpec& spec)
      : table_(spec.units.front(), Role::table),
        positions_(spec.units.front(), Role::positions),
        padding_(spec.causal.padding_token.value_or(-1)),
        offset_(spec.causal.position_offset) {}

  TensorList forward(Parameters parameters, const TensorList&, const BatchContext& batch,
                     LayerCache*) const override {
    at::Tensor x = at::embedding(table_.of(parameters), batch.input_ids, padding_);
    if (positions_.present()) {
      x.add_(at::embedding(positions_.of(parameters), batch.positions.add(offset_)));
    }
    return {x};
  }

 private:
  Slot table_, positions_;
  std::int64_t padding_, offset_;
};

class DecoderLayer final : public Block {
 public:
  DecoderLayer(const ModelSpec& spec, std::uint64_t layer, const UnitSpec& unit)
      : config_(spec.causal),
        head_dim_(static_cast<std::int64_t>(spec.head_dim)),
        window_(spec.causal.window(layer)),
        attention_norm_(unit, Role::attention_norm, config_.layer_norm, config_.norm_eps),
        query_norm_(unit, Role::query_norm, config_.layer_norm, config_.norm_eps),
        key_norm_(unit, Role::key_norm, config_.layer_norm, config_.norm_eps),
        mlp_norm_(unit, Role::mlp_norm, config_.layer_norm, config_.norm_eps),
        query_(unit, Role::query, config_.transposed),
        key_(unit, Role::key, config_.transposed),
        value_(unit, Role::value, config_.transposed),
        all_(unit, Role::query_key_value, config_.transposed),
        output_(unit, Role::output, config_.transposed),
        mlp_(unit, config_.activation, config_.transposed) {
    if (config_.rotary) frequencies_ = rope_frequencies(config_.rope, spec.head_dim);
    if (Slot(unit, Role::router).present()) {
      experts_.emplace(unit, config_.activation, config_.experts_per_token);
    }
  }

  TensorList forward(Parameters parameters, const TensorList& carry, const BatchContext& batch,
                     LayerCache* cache) const override {
    FATHOM_ASSERT(carry.size() == 1, "a decoder layer takes one tensor");
    const at::Tensor& x = carry.front();
    at::Tensor middle = attention(parameters, x, batch, cache);
    middle.add_(x);  // fresh and not saved for the gradient
    const at::Tensor normed = mlp_norm_(parameters, middle);
    at::Tensor out = experts_ ? (*experts_)(parameters, normed) : mlp_(parameters, normed);
    out.add_(middle);
    return {out};
  }

 private:
  at::Tensor attention(Parameters parameters, const at::Tensor& x, const BatchContext& batch,
                       LayerCache* cache) const {
    const std::int64_t past = cache != nullptr ? cache->length : 0, fresh = x.size(1);
    at::Tensor q, k, v;
    project(parameters, x, q, k, v);
    if (query_norm_.present()) {
      q = query_norm_(parameters, q);
      k = key_norm_(parameters, k);
    }
    q = q.transpose(1, 2);
    k = k.transpose(1, 2);
    v = v.transpose(1, 2);
    if (config_.rotary) {
      const Rotation angles = rotation(batch.positions, frequencies_, x.scalar_type());
      q = rotate(q, angles);
      k = rotate(k, angles);
    }
    if (cache != nullptr) {
      FATHOM_ASSERT(past + fresh <= cache->keys.size(2), "a KV cache that is too small");
      cache->keys.narrow(2, past, fresh).copy_(k);
      cache->values.narrow(2, past, fresh).copy_(v);
      k = cache->keys.narrow(2, 0, past + fresh);
      v = cache->values.narrow(2, 0, past + fresh);
    }
    const Visibility visible = visibility(batch.mask, fresh, past, window_, x.options());
    const at::Tensor mixed = attend(q, k, v, visible);
    q.reset();
    k.reset();
    v.reset();
    return output_(parameters, mixed);
  }

  // x [b, s, h] -> q [b, s, heads, d], k and v [b, s, kv_heads, d]
  void project(Parameters parameters, const at::Tensor& x, at::Tensor& q, at::Tensor& k,
               at::Tensor& v) const {
    const at::Tensor normed = attention_norm_(parameters, x);
    if (all_.present()) {
      const std::vector<at::Tensor> three = all_(parameters, normed).chunk(3, 2);
      q = split_heads(three[0]);
      k = split_heads(three[1]);
      v = split_heads(three[2]);
      return;
    }
    q = split_heads(query_(parameters, normed));
    k = split_heads(key_(parameters, normed));
    v = split_heads(value_(parameters, normed));
  }

  // [b, s, heads · d] -> [b, s, heads, d]
  at::Tensor split_heads(const at::Tensor& x) const {
    return x.unflatten(2, {x.size(2) / head_dim_, head_dim_});
  }

  CausalConfig config_;
  std::vector<float> frequencies_;
  std::int64_t head_dim_;
  std::uint64_t window_;
  Norm attention_norm_, query_norm_, key_norm_, mlp_norm_;
  Linear query_, key_, value_, all_, output_;
  FeedForward mlp_;
  std::optional<Experts> experts_;
};

class CausalHead final : public Head {
 public:
  explicit CausalHead(const ModelSpec& spec)
      : norm_(spec.units.back(), Role::final_norm, spec.causal.layer_norm, spec.causal.norm_eps) {}

  // The last parameter is the head's own matrix or the tied table.
  at::Tensor logits(Parameters parameters, const at::Tensor& hidden) const override {
    FATHOM_ASSERT(parameters.size() >= 2, "the head takes its norm and one matrix");
    return at::linear(norm_(parameters, hidden), parameters.back());
  }

 private:
  Norm norm_;
};

}  // namespace

Model make_causal(const ModelSpec& spec) {
  Model model;
  model.spec = spec;
  for (std::size_t i = 0; i < spec.units.size(); ++i) {
    const UnitSpec& unit = spec.units[i];
    switch (unit.kind) {
      case UnitKind::embedding: model.blocks.push_back(std::make_unique<Embedding>(spec)); break;
      case UnitKind::layer:
        model.blocks.push_back(std::make_unique<DecoderLayer>(spec, i - 1, unit));
        break;
      case UnitKind::head: model.head = std::make_unique<CausalHead>(spec); break;
    }
  }
  FATHOM_ASSERT(model.head != nullptr && model.blocks.size() == spec.layers + 1,
                "a specification without its units");
  return model;
}

Result<Model> make_model(const ModelSpec& spec) {
  if (spec.units.empty()) {
    return fail(Error(Errc::unsupported, "build a model")
                    .on("family \"" + spec.family + "\"")
                    .because("this build has no blocks for it")
                    .remedy("supported: " + family_names()));
  }
  return spec.encoder_decoder ? make_t5(spec) : make_causal(spec);
}

}  // namespace fathom::models
