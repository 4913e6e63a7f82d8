// SPDX-License-Identifier: Apache-2.0
//
// T5's blocks: against what Hugging Face transformers computed, and by themselves.
#include "models/t5.hpp"

#include <algorithm>
#include <cstdlib>

#include <ATen/ops/ones_like.h>
#include <gtest/gtest.h>

#include "models/loss.hpp"
#include "torch_fixtures.hpp"

namespace fathom::models {
namespace {

// The additive mask of an encoder's padding, [b, 1, 1, s].
at::Tensor source_mask(const at::Tensor& attention_mask) {
  return attention_mask.eq(0).to(at::kFloat).mul(-65504.0).unsqueeze(1).unsqueeze(1);
}

class T5Parity : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    FATHOM_NEEDS_SHARED(std::filesystem::path("models") / GetParam());
    const auto directory = shared_path() / "models" / GetParam();
    whole_ = WholeModel::from_directory(directory);
    auto reader = SafetensorsReader::open(directory / "expected.safetensors");
    ASSERT_TRUE(reader) << reader.error().message();
    expected_.emplace(std::move(*reader));
  }
  at::Tensor expected(const std::string& name) const { return load(*expected_, name); }

  // FATHOM_PRINT=1 shows the figures of the parity table.
  static void report(const char* what, double error, double most) {
    EXPECT_LE(error, most) << what;
    if (std::getenv("FATHOM_PRINT") == nullptr) return;
    std::printf("%-26s %-10s %.2e\n", GetParam(), what, error);
  }

  BatchContext batch(const at::Tensor& mask) const {
    BatchContext context = batch_of(expected("input_ids"));
    context.decoder_input_ids = expected("decoder_input_ids");
    context.mask = source_mask(mask);
    return context;
  }
  // Row `row` alone, cut to its real tokens.
  BatchContext alone(std::int64_t row) const {
    const auto real = expected("attention_mask").select(0, row).sum().item<std::int64_t>();
    BatchContext context =
        batch_of(expected("input_ids").narrow(0, row, 1).narrow(1, 0, real).contiguous());
    context.decoder_input_ids = expected("decoder_input_ids").narrow(0, row, 1).contiguous();
    return context;
  }
  std::vector<LayerCache> caches(std::int64_t source, std::int64_t target) const {
    std::vector<LayerCache> all = whole_.caches(1, target);
    for (LayerCache& layer : all) {
      auto shape = layer.keys.sizes().vec();
      shape[2] = source;
      layer.cross_keys = at::zeros(shape);
      layer.cross_values = at::zeros(shape);
    }
    return all;
  }

  WholeModel whole_;
  std::optional<SafetensorsReader> expected_;
};

TEST_P(T5Parity, LogitsOfAFullAndAPaddedRowEqualTheReference) {
  const NoGrad quiet;
  report("logits",
         relative_error(whole_.logits(batch(expected("attention_mask"))), expected("logits")),
         1e-5);
}

TEST_P(T5Parity, APaddedRowEqualsTheSameRowWithoutPadding) {
  const NoGrad quiet;
  const at::Tensor logits = whole_.logits(alone(1));
  EXPECT_LE(relative_error(logits.select(0, 0), expected("logits").select(0, 1)), 1e-5);
}

TEST_P(T5Parity, LossAndGradientsEqualTheReference) {
  const at::Tensor hidden = whole_.hidden(alone(0)).select(0, 0);
  const at::Tensor labels = expected("labels").select(0, 0);
  TensorList accumulators;
  for (const at::Tensor& parameter : whole_.units.back()) {
    accumulators.push_back(at::zeros(parameter.sizes(), at::TensorOptions().dtype(at::kFloat)));
  }
  const auto n = static_cast<double>(labels.size(0));
  const auto loss = head_loss_backward(*whole_.model.head, whole_.units.back(), hidden, labels, 5,
                                       1 / n, accumulators);
  ASSERT_TRUE(loss) << loss.error().message();
  const double reference = expected("loss").item<double>();
  EXPECT_NEAR(loss->sum() / n, reference, 1e-5 * reference);
  const auto rows =
      head_log_probabilities(*whole_.model.head, whole_.units.back(), hidden, labels, 5);
  ASSERT_TRUE(rows);
  EXPECT_NEAR(-rows->sum().item<double>(), loss->sum(), 1e-5 * loss->sum());

  std::vector<std::string> names;
  TensorList inputs;
  for (const TensorInfo& tensor : expected_->tensors()) {
    if (!tensor.name.starts_with("grad.")) continue;
    names.push_back(whole_.parameter_of(tensor.name.substr(5)));
    if (names.back() != "decoder.final_layer_norm.weight") {
      inputs.push_back(whole_.parameter(names.back()));
    }
  }
  EXPECT_GE(names.size(), 5U);
  const auto grads = gradients({hidden}, inputs, {loss->gradient});
  ASSERT_TRUE(grads) << grads.error().message();
  std::size_t next = 0;
  for (const std::string& name : names) {
    at::Tensor gradient = accumulators[0];
    if (name != "decoder.final_layer_norm.weight") gradient = (*grads)[next++];
    if (name == "shared.weight" && whole_.spec().tied_head)
      gradient = gradient.add(accumulators[1]);
    report("gradient", relative_error(gradient, expected("grad." + name)), 5e-5);
  }
}

TEST_P(T5Parity, GreedyTokensAreTheSameWithAndWithoutCache) {
  const NoGrad quiet;
  const at::Tensor greedy = expected("greedy");
  BatchContext whole = alone(0);
  std::vector<LayerCache> cache = caches(whole.input_ids.size(1), greedy.size(0));
  std::vector<std::int64_t> made = {*whole_.spec().decoder_start_token};
  for (std::int64_t step = 0; step < greedy.size(0); ++step) {
    const auto length = static_cast<std::int64_t>(made.size());
    whole.decoder_input_ids = at::empty({1, length}, at::TensorOptions().dtype(at::kLong));
    std::copy(made.begin(), made.end(), whole.decoder_input_ids.mutable_data_ptr<std::int64_t>());
    const at::Tensor logits = whole_.logits(whole).select(1, length - 1);

    BatchContext fresh = whole;
    fresh.decoder_input_ids = whole.decoder_input_ids.narrow(1, length - 1, 1);
    const at::Tensor cached = whole_.logits(fresh, &cache).select(1, 0);
    for (LayerCache& layer : cache) layer.length = length;

    const std::int64_t next = greedy[step].item<std::int64_t>();
    EXPECT_EQ(logits.argmax().item<std::int64_t>(), next) << "step " << step;
    EXPECT_EQ(cached.argmax().item<std::int64_t>(), next) << "step " << step << ", cached";
    made.push_back(next);
  }
}

TEST_P(T5Parity, CachedLayersNeedNoEncoder) {
  const NoGrad quiet;
  const BatchContext whole = alone(0);
  const at::Tensor reference = expected("logits").narrow(0, 0, 1);
  const std::int64_t length = reference.size(1);
  std::vector<LayerCache> cache = caches(whole.input_ids.size(1), length);
  TensorList carried;
  for (std::int64_t at = 0; at < length; ++at) {
    BatchContext fresh = whole;
    fresh.decoder_input_ids = whole.decoder_input_ids.narrow(1, at, 1);
    if (at > 0) fresh.input_ids.reset();
    TensorList now;
    for (std::size_t i = 0; i < whole_.model.blocks.size(); ++i) {
      const bool encodes = i > 0 && whole_.spec().units[i].side == Side::source;
      if (at == 0 || !encodes) whole_.run_block(i, fresh, i > 0 ? &cache[i - 1] : nullptr, now);
    }
    for (LayerCache& layer : cache) layer.length = at + 1;
    const at::Tensor x = now[whole_.spec().units.back().inputs.front()];
    const at::Tensor logits = whole_.model.head->logits(whole_.units.back(), x.select(1, 0));
    EXPECT_LE(relative_error(logits, reference.select(1, at)), 2e-5) << at;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, T5Parity,
                         testing::Values("tiny-random/t5", "tiny-random/t5-gated"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           for (char& c : name) {
                             if (c == '/' || c == '-') c = '_';
                           }
                           return name;
                         });

// Shapes that the reference models do not have.
const std::vector<std::string> variants = {
    R"({"num_layers":1,"num_decoder_layers":1})",
    R"({"num_layers":1,"num_decoder_layers":4,"feed_forward_proj":"gated-silu"})",
    R"({"num_layers":3,"num_decoder_layers":2,"tie_word_embeddings":false})",
    R"({"num_layers":2,"num_heads":3,"d_kv":5,"feed_forward_proj":"gated-gelu"})",
    R"({"num_layers":2,"feed_forward_proj":"gelu","relative_attention_num_buckets":4,
        "relative_attention_max_distance":3})"};

ModelSpec t5_spec(const std::string& changes) {
  nlohmann::json json = {
      {"model_type", "t5"}, {"d_model", 24}, {"d_kv", 8}, {"d_ff", 40}, {"num_heads", 2}};
  json.merge_patch(nlohmann::json::parse(changes));
  return small_spec(json.dump());
}

BatchContext some_batch(std::int64_t source, std::int64_t target) {
  BatchContext batch = batch_of(some_ids(2, source, 61));
  batch.decoder_input_ids = some_ids(2, target, 61);
  return batch;
}

TEST(T5, UnitByUnitGivesTheGradientsOfTheWholeGraph) {
  for (const std::string& changes : variants) {
    const WholeModel whole = WholeModel::random(t5_spec(changes), at::kFloat);
    const ModelSpec& spec = whole.spec();
    const BatchContext batch = some_batch(9, 6);
    TensorList parameters;
    for (std::size_t i = 0; i < whole.model.blocks.size(); ++i) {
      parameters.insert(parameters.end(), whole.units[i].begin(), whole.units[i].end());
    }
    const at::Tensor hidden = whole.hidden(batch);
    const auto expected = gradients({hidden}, parameters, {at::ones_like(hidden)});
    ASSERT_TRUE(expected) << expected.error().message();

    TensorList carried;
    {
      const NoGrad quiet;
      for (std::size_t i = 0; i < whole.model.blocks.size(); ++i) {
        whole.run_block(i, batch, nullptr, carried);
      }
    }
    std::vector<at::Tensor> sums(spec.carries.size());
    sums[spec.units.back().inputs.front()] = at::ones_like(hidden);
    std::size_t place = parameters.size();
    for (std::size_t i = whole.model.blocks.size(); i-- > 0;) {
      TensorList leaves, seeds;
      if (i > 0) {
        for (const at::Tensor& input : whole.inputs_of(i, carried)) leaves.push_back(leaf(input));
      }
      for (const std::uint32_t carry : spec.units[i].outputs) seeds.push_back(sums[carry]);
      TensorList all = leaves;
      all.insert(all.end(), whole.units[i].begin(), whole.units[i].end());
      const auto grads = gradients(
          whole.model.blocks[i]->forward(whole.units[i], leaves, batch, nullptr), all, seeds);
      ASSERT_TRUE(grads) << grads.error().message();
      for (std::size_t k = 0; k < leaves.size(); ++k) {
        at::Tensor& sum = sums[spec.units[i].inputs[k]];
        sum = sum.defined() ? sum.add((*grads)[k]) : (*grads)[k];
      }
      place -= whole.units[i].size();
      for (std::size_t p = 0; p < whole.units[i].size(); ++p) {
        EXPECT_LE(relative_error((*grads)[leaves.size() + p], (*expected)[place + p]), 1e-5)
            << changes << " " << spec.units[i].parameters[p].name;
      }
    }
  }
}

TEST(T5, TheDecoderSeesNoLaterTokenAndTheEncoderAll) {
  const NoGrad quiet;
  const WholeModel whole = WholeModel::random(t5_spec(variants[2]), at::kFloat);
  const BatchContext batch = some_batch(9, 8);
  BatchContext later = batch, source = batch;
  later.decoder_input_ids = batch.decoder_input_ids.clone();
  later.decoder_input_ids.narrow(1, 5, 3).fill_(3);
  source.input_ids = batch.input_ids.clone();
  source.input_ids.narrow(1, 8, 1).fill_(3);
  const at::Tensor a = whole.logits(batch), b = whole.logits(later), c = whole.logits(source);
  EXPECT_LE(relative_error(a.narrow(1, 0, 5), b.narrow(1, 0, 5)), 1e-6);
  EXPECT_GT(relative_error(a.narrow(1, 5, 3), b.narrow(1, 5, 3)), 1e-2);
  EXPECT_GT(relative_error(a.narrow(1, 0, 1), c.narrow(1, 0, 1)), 1e-4);
}

TEST(T5, GivesTheSameBitsAgain) {
  for (const std::string& changes : variants) {
    const WholeModel whole = WholeModel::random(t5_spec(changes), at::kFloat);
    const BatchContext batch = some_batch(7, 5);
    const auto run = [&] {
      const at::Tensor hidden = whole.hidden(batch);
      return *gradients({hidden}, {whole.units[0][0], whole.units[1][1]}, {at::ones_like(hidden)});
    };
    const TensorList first = run(), second = run();
    for (std::size_t i = 0; i < first.size(); ++i) {
      EXPECT_TRUE(same_bits(first[i], second[i])) << changes;
      EXPECT_GT(first[i].abs().max().item<float>(), 0) << changes;
    }
  }
}

}  // namespace
}  // namespace fathom::models
