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

TEST(Reference, ShardedWeightsAreTheSameModelAndLogitsAreWritten) {
  FATHOM_NEEDS_SHARED("models/tiny-random/llama-sharded");
  const std::string whole = shared("models/tiny-random/llama"),
                    sharded = shared("models/tiny-random/llama-sharded");
  const std::string logits = new_scratch_name("logits");
  const Arguments rows = {"--input-ids", whole + "/expected.safetensors"};
  EXPECT_EQ(evaluated(sharded, rows), evaluated(whole, rows + Arguments{"--logits-out", logits}));
  const Safetensors expected = Safetensors::read(whole + "/expected.safetensors"),
                    made = Safetensors::read(logits);
  EXPECT_EQ(made.header.at("logits").at("shape"), expected.header.at("logits").at("shape"));
  const std::string_view a = expected.tensor("logits"), b = made.tensor("logits");
  const std::string_view mask = expected.tensor("attention_mask");
  ASSERT_EQ(a.size(), b.size());
  const std::size_t vocabulary = expected.header.at("logits").at("shape")[2];
  double largest = 0, worst = 0;
  for (std::size_t i = 0; i < a.size() / 4; ++i) {
    std::int64_t real = 0;
    std::memcpy(&real, mask.data() + i / vocabulary * 8, 8);
    if (real == 0) continue;
    float x = 0, y = 0;
    std::memcpy(&x, a.data() + 4 * i, 4);
    std::memcpy(&y, b.data() + 4 * i, 4);
    largest = std::max(largest, std::abs(static_cast<double>(x)));
    worst = std::max(worst, std::abs(static_cast<double>(x) - y));
  }
  EXPECT_LE(worst, 1e-5 * largest);
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
