// SPDX-License-Identifier: Apache-2.0
//
// The blocks by themselves: no reference files needed.
#include "models/causal.hpp"

#include <ATen/ops/ones_like.h>
#include <gtest/gtest.h>

#include "torch_fixtures.hpp"

namespace fathom::models {
namespace {

// Every switch of the family at least once.
const std::vector<std::string> variants = {
    "{}",
    R"({"attention_bias":true,"mlp_bias":true,"num_key_value_heads":4})",
    R"({"hidden_act":"gelu_pytorch_tanh","head_dim":16,"num_key_value_heads":1})",
    R"({"hidden_act":"relu","tie_word_embeddings":true})",
    R"({"hidden_act":"gelu","rope_scaling":{"rope_type":"linear","factor":2.0}})",
    R"({"model_type":"mistral","sliding_window":4})",
    R"({"model_type":"qwen2"})",
    R"({"model_type":"qwen3","head_dim":16})",
    R"({"model_type":"mixtral","num_local_experts":5,"num_experts_per_tok":3})",
    R"({"model_type":"mixtral","num_local_experts":3,"num_experts_per_tok":1,"sliding_window":4})",
    R"({"model_type":"gpt2","n_embd":30,"n_layer":2,"n_head":3,"n_positions":16})",
    R"({"model_type":"gpt2","n_embd":32,"n_layer":2,"n_head":4,"n_positions":16,"n_inner":20,
        "activation_function":"relu","tie_word_embeddings":false})",
    R"({"model_type":"opt","ffn_dim":40,"hidden_size":35,"num_attention_heads":5,
        "max_position_embeddings":16,"pad_token_id":null})",
    R"({"model_type":"opt","ffn_dim":40,"enable_bias":false,"activation_function":"gelu",
        "max_position_embeddings":16,"tie_word_embeddings":false,"pad_token_id":null})"};

TEST(Causal, CachedTokensGiveTheLogitsOfTheWholeText) {
  const NoGrad quiet;
  for (const std::string& changes : variants) {
    const WholeModel whole = WholeModel::random(small_spec(changes), at::kFloat);
    const at::Tensor ids = some_ids(2, 12, 61);
    const at::Tensor expected = whole.logits(batch_of(ids));
    std::vector<LayerCache> cache = whole.caches(2, 12);
    std::int64_t done = 0;
    for (const std::int64_t count : {5, 1, 4, 1, 1}) {
      const BatchContext fresh{
          ids.narrow(1, done, count), positions_from(done, count).expand({2, count}), {}};
      const at::Tensor logits = whole.logits(fresh, &cache);
      EXPECT_LE(relative_error(logits, expected.narrow(1, done, count)), 1e-5) << changes;
      done += count;
      for (LayerCache& layer : cache) layer.length = done;
    }
  }
}

TEST(Causal, NoTokenSeesALaterOne) {
  const NoGrad quiet;
  const WholeModel whole = WholeModel::random(small_spec(), at::kFloat);
  const at::Tensor ids = some_ids(1, 12, 61), other = ids.clone();
  other.select(0, 0).narrow(0, 7, 5).fill_(3);
  const at::Tensor a = whole.logits(batch_of(ids)), b = whole.logits(batch_of(other));
  EXPECT_LE(relative_error(a.narrow(1, 0, 7), b.narrow(1, 0, 7)), 1e-6);
  EXPECT_GT(relative_error(a.narrow(1, 7, 5), b.narrow(1, 7, 5)), 1e-2);
}

TEST(Causal, ForwardGivesTheSameBitsWithAndWithoutGradientAndAgain) {
  for (const std::string& changes : variants) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const WholeModel whole = WholeModel::random(small_spec(changes), dtype);
      const BatchContext batch = batch_of(some_ids(2, 9, 61));
      const at::Tensor recorded = whole.logits(batch);
      EXPECT_TRUE(recorded.requires_grad());
      const NoGrad quiet;
      EXPECT_TRUE(same_bits(recorded, whole.logits(batch))) << changes;
      EXPECT_TRUE(same_bits(recorded, whole.logits(batch))) << changes;
    }
  }
}

TEST(Causal, EveryParameterGetsAGradientAndTheSameBitsAgain) {
  for (const std::string& changes : variants) {
    const WholeModel whole = WholeModel::random(small_spec(changes), at::kFloat);
    const BatchContext batch = batch_of(some_ids(2, 9, 61));
    TensorList inputs;
    for (std::size_t i = 0; i < whole.units.size(); ++i) {
      const std::size_t own = whole.spec().units[i].parameters.size();
      inputs.insert(inputs.end(), whole.units[i].begin(),
                    whole.units[i].begin() + static_cast<std::ptrdiff_t>(own));
    }
    const auto run = [&] {
      const at::Tensor logits = whole.logits(batch);
      auto grads = gradients({logits.square().sum()}, inputs, {at::zeros({}).add_(1)});
      if (!grads) throw std::runtime_error(grads.error().message());
      return *grads;
    };
    const TensorList first = run(), second = run();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_EQ(first[i].sizes(), inputs[i].sizes());
      EXPECT_TRUE(same_bits(first[i], second[i])) << changes << " parameter " << i;
      // A bias of the keys moves all scores of a query alike only without rotation, so it counts
      // too.
      EXPECT_GT(first[i].abs().max().item<float>(), 0) << changes << " parameter " << i;
    }
  }
}

TEST(Causal, GradientsAgreeWithFiniteDifferences) {
  const WholeModel whole = WholeModel::random(small_spec(), at::kFloat);
  const BatchContext batch = batch_of(some_ids(1, 6, 61));
  const auto objective = [&] {
    const NoGrad quiet;
    return whole.logits(batch).to(at::kDouble).square().mean().item<double>();
  };
  for (const char* name :
       {"model.layers.0.self_attn.k_proj.weight", "model.layers.1.mlp.up_proj.weight",
        "model.layers.0.input_layernorm.weight"}) {
    const at::Tensor parameter = whole.parameter(name);
    const auto grads =
        gradients({whole.logits(batch).to(at::kDouble).square().mean()}, {parameter},
                  {at::ones_like(at::zeros({}, at::TensorOptions().dtype(at::kDouble)))});
    ASSERT_TRUE(grads) << grads.error().message();
    // Along the gradient itself the slope is its squared length.
    const at::Tensor& g = (*grads)[0];
    const double length = g.to(at::kDouble).square().sum().sqrt().item<double>();
    const double step = 1e-2 / length;
    const NoGrad quiet;
    const at::Tensor original = parameter.detach().clone();
    parameter.detach().copy_(original.add(g, step));
    const double above = objective();
    parameter.detach().copy_(original.sub(g, step));
    const double below = objective();
    parameter.detach().copy_(original);
    EXPECT_NEAR((above - below) / (2 * step), length * length, 0.01 * length * length) << name;
  }
}

TEST(Causal, SixteenBitTypesStayCloseToFp32) {
  const NoGrad quiet;
  for (const std::string& changes : variants) {
    const ModelSpec spec = small_spec(changes);
    const BatchContext batch = batch_of(some_ids(2, 9, 61));
    const at::Tensor wide = WholeModel::random(spec, at::kFloat).logits(batch);
    for (const auto& [dtype, tolerance] :
         {std::pair(at::kBFloat16, 0.06), std::pair(at::kHalf, 0.01)}) {
      const at::Tensor narrow = WholeModel::random(spec, dtype).logits(batch);
      EXPECT_EQ(narrow.scalar_type(), dtype);
      EXPECT_LE(relative_error(narrow, wide), tolerance) << changes << c10::toString(dtype);
    }
  }
}

TEST(Causal, PaddingOnTheLeftChangesNoLogitOfARealToken) {
  const NoGrad quiet;
  for (const std::string& changes : variants) {
    const WholeModel whole = WholeModel::random(small_spec(changes), at::kFloat);
    const at::Tensor alone = some_ids(1, 7, 61);
    at::Tensor ids = some_ids(2, 10, 61), real = at::ones_like(ids);
    ids.select(0, 1).narrow(0, 3, 7).copy_(alone.select(0, 0));
    real.select(0, 1).narrow(0, 0, 3).fill_(0);
    const at::Tensor positions = real.cumsum(1).sub_(1).clamp_min_(0);
    const at::Tensor logits = whole.logits({ids, positions, padding_mask(real, at::kFloat)});
    EXPECT_TRUE(logits.isfinite().all().item<bool>());
    EXPECT_LE(relative_error(logits.select(0, 1).narrow(0, 3, 7),
                             whole.logits(batch_of(alone)).select(0, 0)),
              1e-5)
        << changes;
    EXPECT_LE(relative_error(logits.select(0, 0),
                             whole.logits(batch_of(ids.narrow(0, 0, 1))).select(0, 0)),
              1e-5)
        << changes;
  }
}

TEST(Causal, ThePaddingTokensEmbeddingGetsNoGradient) {
  const WholeModel whole = WholeModel::random(small_spec(R"({"pad_token_id":5})"), at::kFloat);
  at::Tensor ids = some_ids(1, 6, 61);
  ids.select(0, 0).select(0, 2).fill_(5);
  const at::Tensor table = whole.units[0][0];
  const auto grads =
      gradients(whole.model.blocks[0]->forward(whole.units[0], {}, batch_of(ids), nullptr), {table},
                {at::ones_like(whole.hidden(batch_of(ids)))});
  ASSERT_TRUE(grads) << grads.error().message();
  EXPECT_EQ((*grads)[0].select(0, 5).abs().max().item<float>(), 0);
  EXPECT_GT((*grads)[0].abs().max().item<float>(), 0);
}

TEST(Causal, OutputsShareNoMemoryWithParametersOrInputs) {
  const NoGrad quiet;
  const WholeModel whole = WholeModel::random(small_spec(), at::kFloat);
  const BatchContext batch = batch_of(some_ids(1, 6, 61));
  TensorList carry;
  for (std::size_t i = 0; i < whole.model.blocks.size(); ++i) {
    const TensorList before = carry;
    const at::Tensor input = carry.empty() ? at::Tensor() : carry[0].clone();
    carry = whole.model.blocks[i]->forward(whole.units[i], carry, batch, nullptr);
    for (const at::Tensor& parameter : whole.units[i]) {
      EXPECT_FALSE(carry[0].is_alias_of(parameter));
    }
    if (before.empty()) continue;
    EXPECT_FALSE(carry[0].is_alias_of(before[0]));
    EXPECT_TRUE(same_bits(before[0], input)) << "a block overwrote its input";
  }
}

TEST(Causal, AnUnknownFamilyIsRefusedByName) {
  ModelSpec spec = small_spec();
  spec.family = "rwkv";
  spec.units.clear();
  const auto model = make_model(spec);
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code(), Errc::unsupported);
  EXPECT_NE(model.error().message().find("rwkv"), std::string::npos);
}

}  // namespace
}  // namespace fathom::models
