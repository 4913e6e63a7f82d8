// SPDX-License-Identifier: Apache-2.0
//
// Real models of shared/models: what transformers computed, through the command line.
#include <cstring>
#include <filesystem>

#include "program.hpp"

namespace fathom::tools {
namespace {

double evaluated(const std::string& model, const Arguments& more) {
  const Outcome done = fathom(Arguments{"eval", "--json", "--model", model} + more + fixed_rates());
  EXPECT_TRUE(succeeded(done));
  return json::parse(done.out).at("loss");
}

TEST(Reference, TokenizeGivesTheIdsAndTheTextBack) {
  FATHOM_NEEDS_SHARED("models/tinystories-260k/tokenizer_cases.json");
  const std::string model = shared("models/tinystories-260k");
  const json cases = json::parse(read_file(model + "/tokenizer_cases.json"));
  ASSERT_GT(cases.size(), 100U);
  std::string lines;
  for (const json& one : cases) lines += one.at("text").dump() + "\n";
  const Outcome plain =
      fathom({"tokenize", "--model", model, "--no-special", "--jsonl"}, {.input = lines});
  const Outcome special = fathom({"tokenize", "--model", model, "--jsonl"}, {.input = lines});
  ASSERT_TRUE(succeeded(plain));
  ASSERT_TRUE(succeeded(special));
  const auto results = json_lines(plain.out), with_bos = json_lines(special.out);
  ASSERT_EQ(results.size(), cases.size());
  ASSERT_EQ(with_bos.size(), cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(results[i].at("ids"), cases[i].at("ids")) << cases[i].at("text");
    EXPECT_EQ(results[i].at("text"), cases[i].at("text"));
    json ids = cases[i].at("ids");
    ids.insert(ids.begin(), 1);
    EXPECT_EQ(with_bos[i].at("ids"), ids) << cases[i].at("text");
  }
}

TEST(Reference, GreedyGenerationTellsTheKnownStory) {
  FATHOM_NEEDS_SHARED("models/tinystories-260k/story.json");
  const std::string model = shared("models/tinystories-260k");
  const json story = json::parse(read_file(model + "/story.json"));
  const Outcome done = fathom(Arguments{"generate", "--model", model, "--json", "--prompt",
                                        story.at("prompt"), "--max-new-tokens", "48"} +
                              fixed_rates());
  ASSERT_TRUE(succeeded(done));
  const json result = json::parse(done.out);
  const json& ids = story.at("greedy_ids");
  EXPECT_EQ(result.at("ids"), json(std::vector<json>(ids.begin(), ids.begin() + 48)));
  EXPECT_EQ(result.at("prompt_tokens"), story.at("prompt_ids").size());
  const std::string text =
      story.at("prompt").get<std::string>() + result.at("text").get<std::string>();
  EXPECT_EQ(story.at("text").get<std::string>().substr(0, text.size()), text);
}

// Where a row of logits means something: everywhere in a decoder of its own, else where there is a
// token.
void expect_same_logits(const Safetensors& expected, const Safetensors& made) {
  ASSERT_EQ(made.header.at("logits").at("shape"), expected.header.at("logits").at("shape"));
  const std::string_view a = expected.tensor("logits"), b = made.tensor("logits");
  const std::string_view mask = expected.tensor("attention_mask");
  const bool masked = !expected.header.contains("decoder_input_ids");
  ASSERT_EQ(a.size(), b.size());
  const std::size_t vocabulary = expected.header.at("logits").at("shape")[2];
  double largest = 0, worst = 0;
  for (std::size_t i = 0; i < a.size() / 4; ++i) {
    std::int64_t real = 1;
    if (masked) std::memcpy(&real, mask.data() + i / vocabulary * 8, 8);
    if (real == 0) continue;
    float x = 0, y = 0;
    std::memcpy(&x, a.data() + 4 * i, 4);
    std::memcpy(&y, b.data() + 4 * i, 4);
    largest = std::max(largest, std::abs(static_cast<double>(x)));
    worst = std::max(worst, std::abs(static_cast<double>(x) - y));
  }
  EXPECT_LE(worst, 1e-5 * largest);
}

std::vector<std::int64_t> row_of(const Safetensors& file, const std::string& name,
                                 std::size_t count) {
  std::vector<std::int64_t> ids(count);
  std::memcpy(ids.data(), file.tensor(name).data(), count * 8);
  return ids;
}

TEST(Reference, ShardedWeightsAreTheSameModel) {
  FATHOM_NEEDS_SHARED("models/tiny-random/llama-sharded");
  const std::string whole = shared("models/tiny-random/llama"),
                    sharded = shared("models/tiny-random/llama-sharded");
  const Arguments rows = {"--input-ids", whole + "/expected.safetensors"};
  EXPECT_EQ(evaluated(sharded, rows), evaluated(whole, rows));
}

class ReferenceFamily : public testing::TestWithParam<const char*> {};

TEST_P(ReferenceFamily, LogitsAndGreedyTokensAreTheExpectedOnes) {
  const std::string model = shared(std::string("models/tiny-random/") + GetParam());
  FATHOM_NEEDS_SHARED(std::string("models/tiny-random/") + GetParam());
  const Safetensors expected = Safetensors::read(model + "/expected.safetensors");
  const std::string logits = new_scratch_name("logits");
  const Outcome done =
      fathom(Arguments{"eval", "--json", "--model", model, "--dtype", "fp32", "--logprobs",
                       "--input-ids", model + "/expected.safetensors", "--logits-out", logits} +
             fixed_rates());
  ASSERT_TRUE(succeeded(done));
  expect_same_logits(expected, Safetensors::read(logits));
  // The log-probabilities of row 0 make its loss.
  double sum = 0, count = 0;
  const json scored = json::parse(done.out);
  for (const json& value : scored.at("logprobs").at(0)) {
    if (value.is_null()) continue;
    sum -= value.get<double>();
    ++count;
  }
  float loss = 0;
  std::memcpy(&loss, expected.tensor("loss").data(), sizeof loss);
  EXPECT_NEAR(sum / count, loss, 1e-5 * static_cast<double>(loss));

  const std::size_t length = expected.header.at("input_ids").at("shape")[1];
  std::string prompt;
  for (const std::int64_t id : row_of(expected, "input_ids", length))
    prompt += (prompt.empty() ? "" : ",") + std::to_string(id);
  const std::vector<std::int64_t> greedy = row_of(expected, "greedy", 16);
  const Outcome made =
      fathom(Arguments{"generate", "--model", model, "--dtype", "fp32", "--json", "--prompt-ids",
                       prompt, "--max-new-tokens", "16", "--ignore-eos"} +
             fixed_rates());
  ASSERT_TRUE(succeeded(made));
  EXPECT_EQ(json::parse(made.out).at("ids").get<std::vector<std::int64_t>>(), greedy);
}

INSTANTIATE_TEST_SUITE_P(Models, ReferenceFamily,
                         testing::Values("llama", "llama3", "mistral", "qwen2", "qwen3", "mixtral",
                                         "gpt2", "gpt2-hub", "opt", "t5", "t5-gated"),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name)
                             if (c == '-') c = '_';
                           return name;
                         });

TEST(Reference, AnEncoderDecoderLearnsPairsFromAnyPlaceWithTheSameBits) {
  FATHOM_NEEDS_SHARED("models/tiny-random/t5-gated/model.safetensors");
  std::string pairs;
  for (int i = 0; i < 24; ++i)
    pairs += json{{"input", "say " + std::to_string(i % 6)},
                  {"target", "it is " + std::to_string(i % 6)}}
                 .dump() +
             "\n";
  Training run{.model = shared("models/tiny-random/t5-gated"), .steps = 6, .length = 12};
  run.data = scratch_file("pairs.jsonl", pairs);
  run.more = {"--target-len", "7"};
  run.config["fathom"]["host_memory"] = "1GiB";
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  const auto metrics = json_lines(read_file(run.metrics()));
  EXPECT_LT(metrics.back().at("loss"), metrics.front().at("loss"));
  Training other = run;
  other.out = new_scratch_name("out");
  other.config["fathom"]["host_memory"] = smallest_host_memory(run);
  ASSERT_TRUE(succeeded(fathom(other.arguments())));
  EXPECT_TRUE(state_of(other.out) == state_of(run.out));
  const json report = json::parse(read_file(run.out + "/report.json"));
  EXPECT_EQ(report.at("data").at("windows"), 24);
  EXPECT_EQ(report.at("data").at("dropped_tokens"), 0);

  const Outcome wrong =
      fathom(Arguments{"eval", "--model", run.model, "--data", words()} + fixed_rates());
  EXPECT_TRUE(refused(wrong, 1, {".jsonl", "target"}));
}

TEST(Reference, PretrainedWeightsAreTrainedFromAnyPlaceWithTheSameBits) {
  FATHOM_NEEDS_SHARED("models/tinystories-260k/model.safetensors");
  Training run{.model = shared("models/tinystories-260k"), .steps = 2, .length = 64};
  run.data = scratch_file("story.txt", [] {
    std::string text;
    for (int i = 0; i < 40; ++i) text += "Once upon a time there was a little girl named Lily. ";
    return text;
  }());
  run.config["gradient_clipping"] = 1.0;
  run.config["fathom"]["host_memory"] = "1GiB";
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  // It knows such text: an untrained model starts near ln 512 = 6.2.
  EXPECT_LT(json_lines(read_file(run.metrics())).front().at("loss"), 3.0);
  const std::string first = exported(run.out);
  EXPECT_TRUE(std::filesystem::exists(first + "/tokenizer.json"));
  EXPECT_TRUE(std::filesystem::exists(first + "/generation_config.json"));
  Training other = run;
  other.out = new_scratch_name("out");
  other.config["fathom"]["host_memory"] = smallest_host_memory(run);
  ASSERT_TRUE(succeeded(fathom(other.arguments())));
  EXPECT_TRUE(weights_of(other.out) == tensors_of(first));
}

}  // namespace
}  // namespace fathom::tools
