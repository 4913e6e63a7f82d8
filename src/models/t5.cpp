// SPDX-License-Identifier: Apache-2.0
#include "models/t5.hpp"

#include <memory>
#include <optional>
#include <utility>

#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>

#include "base/assert.hpp"
#include "models/layers.hpp"

namespace fathom::models {
namespace {

// fp16's least finite value: it leaves nothing of a hidden key and never gives NaN.
constexpr double hidden_score = -65504.0;

class T5Embedding final : public Block {
 public:
  explicit T5Embedding(const ModelSpec& spec) : table_(spec.units.front(), Role::table) {}

  TensorList forward(Parameters parameters, const TensorList&, const BatchContext& batch,
                     LayerCache*) const override {
    const at::Tensor& table = table_.of(parameters);
    at::Tensor source;
    if (batch.input_ids.defined()) source = at::embedding(table, batch.input_ids);
    return {source, at::embedding(table, batch.decoder_input_ids)};
  }

 private:
  Slot table_;
};

// [b, s, heads · d] -> [b, heads, s, d]
at::Tensor split_heads(const at::Tensor& x, std::int64_t head_dim) {
  return x.unflatten(2, {x.size(2) / head_dim, head_dim}).transpose(1, 2);
}
at::Tensor merge_heads(const at::Tensor& x) {
  return x.transpose(1, 2).reshape({x.size(0), x.size(2), x.size(1) * x.size(3)});
}

// One stack's layers: self attention with relative bias, then, in the decoder, attention to the
// encoder's output, then the feed-forward network.
class T5Layer final : public Block {
 public:
  T5Layer(const ModelSpec& spec, const UnitSpec& unit)
      : config_(spec.t5),
        head_dim_(static_cast<std::int64_t>(spec.head_dim)),
        decodes_(unit.side == Side::target),
        table_(unit, Role::relative_bias),
        hands_on_table_(unit.outputs.size() == 2),
        attention_norm_(unit, Role::attention_norm, false, spec.t5.norm_eps),
        cross_norm_(unit, Role::cross_norm, false, spec.t5.norm_eps),
        mlp_norm_(unit, Role::mlp_norm, false, spec.t5.norm_eps),
        final_norm_(unit, Role::final_norm, false, spec.t5.norm_eps),
        query_(unit, Role::query),
        key_(unit, Role::key),
        value_(unit, Role::value),
        output_(unit, Role::output),
        cross_query_(unit, Role::cross_query),
        cross_key_(unit, Role::cross_key),
        cross_value_(unit, Role::cross_value),
        cross_output_(unit, Role::cross_output),
        mlp_(unit, spec.t5.activation, false) {}

  TensorList forward(Parameters parameters, const TensorList& carry, const BatchContext& batch,
                     LayerCache* cache) const override {
    FATHOM_ASSERT(carry.size() == std::size_t{1} + decodes_ + !table_.present(),
                  "a layer takes its stack's state, the encoder's output and the table");
    const at::Tensor& table = table_.present() ? table_.of(parameters) : carry.back();
    LayerCache* own = decodes_ ? cache : nullptr;
    at::Tensor x = self_attention(parameters, carry.front(), table, batch, own);
    x.add_(carry.front());  // fresh and not saved for the gradient
    if (decodes_) {
      at::Tensor crossed = cross_attention(parameters, x, carry[1], batch, own);
      crossed.add_(x);
      x = std::move(crossed);
    }
    at::Tensor out = mlp_(parameters, mlp_norm_(parameters, x));
    out.add_(x);
    x.reset();
    if (final_norm_.present()) out = final_norm_(parameters, out);
    TensorList outputs = {std::move(out)};
    if (hands_on_table_) outputs.push_back(table.clone());
    return outputs;
  }

 private:
  at::Tensor self_attention(Parameters parameters, const at::Tensor& x, const at::Tensor& table,
                            const BatchContext& batch, LayerCache* cache) const {
    const std::int64_t past = cache != nullptr ? cache->length : 0, fresh = x.size(1);
    at::Tensor q, k, v;
    {
      const at::Tensor normed = attention_norm_(parameters, x);
      q = split_heads(query_(parameters, normed), head_dim_);
      k = split_heads(key_(parameters, normed), head_dim_);
      v = split_heads(value_(parameters, normed), head_dim_);
    }
    if (cache != nullptr) {
      FATHOM_ASSERT(past + fresh <= cache->keys.size(2), "a KV cache that is too small");
      cache->keys.narrow(2, past, fresh).copy_(k);
      cache->values.narrow(2, past, fresh).copy_(v);
      k = cache->keys.narrow(2, 0, past + fresh);
      v = cache->values.narrow(2, 0, past + fresh);
    }
    at::Tensor scores = at::matmul(q, k.transpose(2, 3));
    scores.add_(relative_bias(table, fresh, past));
    if (decodes_ && fresh > 1) {
      scores.add_(at::full({fresh, past + fresh}, hidden_score, x.options()).triu_(past + 1));
    }
    if (!decodes_ && batch.mask.defined()) scores.add_(batch.mask);
    q.reset();
    k.reset();
    scores = at::softmax(scores, -1, at::kFloat).to(x.scalar_type());
    const at::Tensor mixed = merge_heads(at::matmul(scores, v));
    scores.reset();
    v.reset();
    return output_(parameters, mixed);
  }

  // [heads, fresh, past + fresh]
  at::Tensor relative_bias(const at::Tensor& table, std::int64_t fresh, std::int64_t past) const {
    at::Tensor rows = at::empty({fresh, past + fresh}, at::TensorOptions().dtype(at::kLong));
    auto* row = rows.mutable_data_ptr<std::int64_t>();
    for (std::int64_t query = past; query < past + fresh; ++query) {
      for (std::int64_t key = 0; key < past + fresh; ++key) {
        *row++ = static_cast<std::int64_t>(
            relative_bucket(key - query, !decodes_, config_.buckets, config_.max_distance));
      }
    }
    // A lookup, whose gradient is summed in a fixed order on every device.
    return at::embedding(table, rows.to(table.device())).permute({2, 0, 1});
  }

  at::Tensor cross_attention(Parameters parameters, const at::Tensor& x, const at::Tensor& encoded,
                             const BatchContext& batch, LayerCache* cache) const {
    const at::Tensor q =
        split_heads(cross_query_(parameters, cross_norm_(parameters, x)), head_dim_);
    at::Tensor k, v;
    if (cache != nullptr && cache->length > 0) {
      k = cache->cross_keys;
      v = cache->cross_values;
    } else {
      k = split_heads(cross_key_(parameters, encoded), head_dim_);
      v = split_heads(cross_value_(parameters, encoded), head_dim_);
    }
    if (cache != nullptr && cache->length == 0) {
      cache->cross_keys.copy_(k);
      cache->cross_values.copy_(v);
    }
    const auto mask = batch.mask.defined() ? std::optional(batch.mask) : std::nullopt;
    const at::Tensor mixed =
        merge_heads(at::scaled_dot_product_attention(q, k, v, mask, 0.0, false, /*scale=*/1.0));
    return cross_output_(parameters, mixed);
  }

  T5Config config_;
  std::int64_t head_dim_;
  bool decodes_;
  Slot table_;
  bool hands_on_table_;
  Norm attention_norm_, cross_norm_, mlp_norm_, final_norm_;
  Linear query_, key_, value_, output_, cross_query_, cross_key_, cross_value_, cross_output_;
  FeedForward mlp_;
};

class T5Head final : public Head {
 public:
  explicit T5Head(const ModelSpec& spec)
      : norm_(spec.units.back(), Role::final_norm, false, spec.t5.norm_eps),
        scale_(spec.t5.logit_scale) {}

  at::Tensor logits(Parameters parameters, const at::Tensor& hidden) const override {
    FATHOM_ASSERT(parameters.size() == 2, "the head takes its norm and one matrix");
    at::Tensor normed = norm_(parameters, hidden);
    if (scale_ != 1) normed = normed.mul(scale_);
    return at::linear(normed, parameters.back());
  }

 private:
  Norm norm_;
  double scale_;
};

}  // namespace

Model make_t5(const ModelSpec& spec) {
  Model model;
  model.spec = spec;
  for (const UnitSpec& unit : spec.units) {
    switch (unit.kind) {
      case UnitKind::embedding: model.blocks.push_back(std::make_unique<T5Embedding>(spec)); break;
      case UnitKind::layer: model.blocks.push_back(std::make_unique<T5Layer>(spec, unit)); break;
      case UnitKind::head: model.head = std::make_unique<T5Head>(spec); break;
    }
  }
  FATHOM_ASSERT(model.head != nullptr && model.blocks.size() == spec.layers + 1,
                "a specification without its units");
  return model;
}

}  // namespace fathom::models
