// SPDX-License-Identifier: Apache-2.0
//
// The blocks against what Hugging Face transformers computed from the same weights.
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "models/loss.hpp"
#include "models/tokenizer.hpp"
#include "torch_fixtures.hpp"

namespace fathom::models {
namespace {

class FamilyParity : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    FATHOM_NEEDS_SHARED(std::filesystem::path("models") / GetParam());
    const auto directory = shared_path() / "models" / GetParam();
    whole_ = WholeModel::from_directory(directory);
    auto reader = SafetensorsReader::open(directory / "expected.safetensors");
    ASSERT_TRUE(reader) << reader.error().message();
    expected_.emplace(std::move(*reader));
    ids_ = load(*expected_, "input_ids");
  }
  at::Tensor expected(const std::string& name) const { return load(*expected_, name); }
  // FATHOM_PRINT=1 shows the figures of the parity table.
  static void report(const char* what, double error, double most) {
    EXPECT_LE(error, most) << what;
    if (std::getenv("FATHOM_PRINT") == nullptr) return;
    std::printf("%-26s %-10s %.2e\n", GetParam(), what, error);
  }
  BatchContext first_row() const { return batch_of(ids_.narrow(0, 0, 1)); }

  WholeModel whole_;
  std::optional<SafetensorsReader> expected_;
  at::Tensor ids_;
};

TEST_P(FamilyParity, LogitsOfAFullAndALeftPaddedRowEqualTheReference) {
  const NoGrad quiet;
  const at::Tensor attention_mask = expected("attention_mask");
  const BatchContext batch{ids_, expected("position_ids"),
                           padding_mask(attention_mask, at::kFloat)};
  const at::Tensor logits = whole_.logits(batch).mul(attention_mask.unsqueeze(2));
  report("logits", relative_error(logits, expected("logits")), 1e-5);
}

TEST_P(FamilyParity, APaddedRowEqualsTheSameRowWithoutPadding) {
  const NoGrad quiet;
  const at::Tensor padded = expected("logits").select(0, 1);
  const auto real = expected("attention_mask").select(0, 1).sum().item<std::int64_t>();
  ASSERT_LT(real, ids_.size(1));
  const at::Tensor alone =
      whole_.logits(batch_of(ids_.narrow(0, 1, 1).narrow(1, ids_.size(1) - real, real)));
  EXPECT_LE(relative_error(alone.select(0, 0), padded.narrow(0, ids_.size(1) - real, real)), 1e-5);
}

TEST_P(FamilyParity, LossAndGradientsEqualTheReference) {
  const at::Tensor x = whole_.hidden(first_row());
  const std::int64_t n = ids_.size(1) - 1;
  const at::Tensor hidden = x.select(0, 0).narrow(0, 0, n);
  const at::Tensor targets = ids_.select(0, 0).narrow(0, 1, n);
  TensorList accumulators;
  for (const at::Tensor& parameter : whole_.units.back()) {
    accumulators.push_back(at::zeros(parameter.sizes(), at::TensorOptions().dtype(at::kFloat)));
  }
  const auto loss = head_loss_backward(*whole_.model.head, whole_.units.back(), hidden, targets, 7,
                                       1.0 / static_cast<double>(n), accumulators);
  ASSERT_TRUE(loss) << loss.error().message();
  const double reference = expected("loss").item<double>();
  EXPECT_NEAR(loss->sum() / static_cast<double>(n), reference, 1e-5 * reference);
  const auto forward = head_loss(*whole_.model.head, whole_.units.back(), hidden, targets, 7);
  ASSERT_TRUE(forward);
  EXPECT_EQ(*forward, loss->sum());

  // Gradients of the head's parameters came out of the loss; those of a tied table are a sum.
  const auto in_head = [&](const std::string& name) -> at::Tensor {
    const auto& own = whole_.spec().units.back().parameters;
    for (std::size_t p = 0; p < own.size(); ++p) {
      if (own[p].name == name) return accumulators[p];
    }
    const bool tied = whole_.spec().tied_head && name == whole_.table_name();
    return tied ? accumulators.back() : at::Tensor();
  };
  std::vector<std::string> names;
  TensorList inputs;
  for (const TensorInfo& tensor : expected_->tensors()) {
    if (!tensor.name.starts_with("grad.")) continue;
    names.push_back(whole_.parameter_of(tensor.name.substr(5)));
    if (!in_head(names.back()).defined() || names.back() == whole_.table_name()) {
      inputs.push_back(whole_.parameter(names.back()));
    }
  }
  EXPECT_GE(names.size(), 3U);
  const auto grads = gradients({hidden}, inputs, {loss->gradient});
  ASSERT_TRUE(grads) << grads.error().message();
  std::size_t next = 0, compared = 0;
  for (const TensorInfo& tensor : expected_->tensors()) {
    if (!tensor.name.starts_with("grad.")) continue;
    const std::string& name = names[compared++];
    at::Tensor gradient = in_head(name);
    if (!gradient.defined()) {
      gradient = (*grads)[next++];
    } else if (name == whole_.table_name()) {
      gradient = gradient.add((*grads)[next++]);
    }
    report("gradient", relative_error(gradient, expected(tensor.name)), 5e-5);
  }
}

TEST_P(FamilyParity, GreedyTokensAreTheSameWithAndWithoutCache) {
  const NoGrad quiet;
  const at::Tensor greedy = expected("greedy");
  const at::Tensor prompt = ids_.narrow(0, 0, 1);
  std::vector<LayerCache> cache = whole_.caches(1, prompt.size(1) + greedy.size(0));
  std::vector<std::int64_t> all(prompt.const_data_ptr<std::int64_t>(),
                                prompt.const_data_ptr<std::int64_t>() + prompt.size(1));
  std::int64_t done = 0;
  for (std::int64_t step = 0; step < greedy.size(0); ++step) {
    const auto length = static_cast<std::int64_t>(all.size());
    at::Tensor sequence = at::empty({1, length}, at::TensorOptions().dtype(at::kLong));
    std::copy(all.begin(), all.end(), sequence.mutable_data_ptr<std::int64_t>());
    const at::Tensor whole = whole_.logits(batch_of(sequence)).select(1, length - 1);

    const BatchContext fresh{
        sequence.narrow(1, done, length - done), positions_from(done, length - done), {}};
    const at::Tensor cached = whole_.logits(fresh, &cache).select(1, length - done - 1);
    for (LayerCache& layer : cache) layer.length = length;
    done = length;

    const std::int64_t next = greedy[step].item<std::int64_t>();
    EXPECT_EQ(whole.argmax().item<std::int64_t>(), next) << "step " << step;
    EXPECT_EQ(cached.argmax().item<std::int64_t>(), next) << "step " << step << ", cached";
    all.push_back(next);
  }
}

TEST_P(FamilyParity, APrefillInPiecesGivesTheLogitsOfOne) {
  const NoGrad quiet;
  const at::Tensor prompt = ids_.narrow(0, 0, 1);
  std::vector<LayerCache> cache = whole_.caches(1, prompt.size(1));
  std::int64_t done = 0;
  for (const std::int64_t count : {5, 1, 9, 9}) {
    const at::Tensor logits =
        whole_.logits({prompt.narrow(1, done, count), positions_from(done, count), {}}, &cache);
    const at::Tensor reference = expected("logits").narrow(0, 0, 1).narrow(1, done, count);
    EXPECT_LE(relative_error(logits, reference), 1e-5) << done;
    done += count;
    for (LayerCache& layer : cache) layer.length = done;
  }
  EXPECT_EQ(done, prompt.size(1));
}

INSTANTIATE_TEST_SUITE_P(Models, FamilyParity,
                         testing::Values("tiny-random/llama", "tiny-random/llama3",
                                         "tiny-random/llama-sharded", "tiny-random/llama-bf16",
                                         "tiny-random/mistral", "tiny-random/qwen2",
                                         "tiny-random/qwen3", "tiny-random/mixtral",
                                         "tiny-random/gpt2", "tiny-random/gpt2-hub",
                                         "tiny-random/opt", "tinystories-260k"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           for (char& c : name) {
                             if (c == '/' || c == '-') c = '_';
                           }
                           return name;
                         });

TEST(LlamaStory, GreedyTextOfTheTrainedModelIsTheReferenceStory) {
  FATHOM_NEEDS_SHARED("models/tinystories-260k/story.json");
  const auto directory = shared_path() / "models/tinystories-260k";
  const WholeModel whole = WholeModel::from_directory(directory);
  const auto tokenizer = Tokenizer::load(directory);
  ASSERT_TRUE(tokenizer);
  const nlohmann::json story = nlohmann::json::parse(read_all(directory / "story.json"));
  std::vector<TokenId> ids = tokenizer->encode(story["prompt"].get<std::string>(), true);
  ASSERT_EQ(ids, story["prompt_ids"].get<std::vector<TokenId>>());
  const auto greedy = story["greedy_ids"].get<std::vector<TokenId>>();

  const NoGrad quiet;
  std::vector<LayerCache> cache =
      whole.caches(1, static_cast<std::int64_t>(ids.size() + greedy.size()));
  StreamDecoder stream(*tokenizer, {});
  std::string text;
  for (const TokenId id : ids) text += stream.push(id);
  std::int64_t done = 0;
  std::vector<TokenId> fresh = ids, made;
  while (made.size() < greedy.size()) {
    const auto count = static_cast<std::int64_t>(fresh.size());
    at::Tensor input = at::empty({1, count}, at::TensorOptions().dtype(at::kLong));
    std::copy(fresh.begin(), fresh.end(), input.mutable_data_ptr<std::int64_t>());
    const at::Tensor logits = whole.logits({input, positions_from(done, count), {}}, &cache);
    done += count;
    for (LayerCache& layer : cache) layer.length = done;
    fresh = {static_cast<TokenId>(logits.select(1, count - 1).argmax().item<std::int64_t>())};
    made.push_back(fresh.front());
    text += stream.push(fresh.front());
  }
  EXPECT_EQ(made, greedy);
  EXPECT_EQ(text + stream.finish(), story["text"].get<std::string>());
}

}  // namespace
}  // namespace fathom::models
