// SPDX-License-Identifier: Apache-2.0
//
// Models that are wrong: missing, malformed, truncated, oversized, lying about their tensors.
#include <cstring>
#include <filesystem>

#include "program.hpp"

namespace fathom::tools {
namespace {

namespace fs = std::filesystem;

class BadModel : public testing::Test {
 protected:
  // Training does not take the model and leaves nothing; evaluation, where asked, refuses it too.
  void expect_refused(const std::string& model, const std::vector<std::string>& says,
                      bool eval_too = false) {
    Training run{.model = model, .length = 16};
    EXPECT_TRUE(refused(fathom(run.arguments()), 1, says)) << model;
    EXPECT_TRUE(left_nothing(run));
    if (!eval_too) return;
    const Arguments eval = {"eval", "--model", model, "--data", words(), "--seq-len", "16"};
    EXPECT_TRUE(refused(fathom(eval + fixed_rates()), 1, says)) << model;
  }

  static std::string with_config(const std::string& text) {
    const std::string directory = new_scratch_directory("model");
    write_file(directory + "/config.json", text);
    return directory;
  }

  // A good model with weights, made once.
  static const std::string& good() {
    static const std::string directory = [] {
      Training run{.model = small_model(), .steps = 1};
      EXPECT_TRUE(succeeded(fathom(run.arguments())));
      return exported(run.out);
    }();
    return directory;
  }
  // A copy of it with other weights.
  static std::string with_weights(const std::string& bytes) {
    std::string directory = with_config(read_file(good() + "/config.json"));
    write_file(directory + "/model.safetensors", bytes);
    return directory;
  }
  static std::string good_bytes() { return read_file(good() + "/model.safetensors"); }
  static Safetensors good_tensors() { return Safetensors::read(good() + "/model.safetensors"); }
};

TEST_F(BadModel, AMissingDirectoryIsNamed) {
  expect_refused("/nonexistent/model", {"/nonexistent/model", "No such file", "check the path"},
                 true);
}

TEST_F(BadModel, AMissingConfigurationIsNamed) {
  const std::string empty = new_scratch_directory("model");
  expect_refused(empty, {empty + "/config.json"});
}

TEST_F(BadModel, ANameThatIsTooLongIsNoBug) {
  expect_refused(std::string(5000, 'a'), {"too long"});
}

TEST_F(BadModel, AConfigurationThatIsNoJsonIsNamed) {
  expect_refused(with_config("{\"model_type\": \"llama\""),
                 {"config.json", "parse", "fetch it again"});
}

TEST_F(BadModel, AnArchitectureThatIsUnknownIsNamed) {
  expect_refused(with_config("{\"model_type\": \"gpt5\"}"), {"model_type", "gpt5", "llama"});
}

TEST_F(BadModel, ASizeThatIsNoneIsNamedByKey) {
  json config = json::parse(read_file(small_model() + "/config.json"));
  config["hidden_size"] = -64;
  expect_refused(with_config(config.dump()), {"hidden_size", "-64", "correct the key"});
  config["hidden_size"] = 66;
  expect_refused(with_config(config.dump()), {"num_attention_heads", "hidden_size"});
}

TEST_F(BadModel, WeightsThatAreTruncatedAreNamed) {
  const std::string bytes = good_bytes();
  for (const std::size_t keep : {std::size_t{5}, std::size_t{500}, bytes.size() - 1})
    expect_refused(with_weights(bytes.substr(0, keep)),
                   {"model.safetensors", "fetch the file again"}, keep == 500);
}

TEST_F(BadModel, WeightsThatAreOversizedAreNamed) {
  expect_refused(with_weights(good_bytes() + std::string(100, '\0')),
                 {"model.safetensors", "bytes of data", "fetch the file again"}, true);
}

TEST_F(BadModel, HeadersLongerThanTheFileAreRefusedWithoutReadingThem) {
  const std::uint64_t length = std::uint64_t{1} << 63;
  std::string bytes = good_bytes();
  std::memcpy(bytes.data(), &length, sizeof length);
  expect_refused(with_weights(bytes), {"model.safetensors", std::to_string(length)});
}

TEST_F(BadModel, HeadersThatAreNoJsonAreNamed) {
  std::string bytes = good_bytes();
  bytes.replace(8, 8, "{{{{{{{{");
  expect_refused(with_weights(bytes), {"model.safetensors", "parse"});
}

TEST_F(BadModel, TensorsThatLieAboutTheirPlaceAreNamed) {
  const std::string name = "model.norm.weight", other = "model.embed_tokens.weight";
  const auto with = [&](const auto& change) {
    Safetensors file = good_tensors();
    change(file.header);
    return with_weights(file.bytes());
  };
  expect_refused(with([&](auto& h) { h[name]["data_offsets"] = {0, std::uint64_t{1} << 62}; }),
                 {name});
  expect_refused(with([&](auto& h) { h[name]["data_offsets"] = h[other]["data_offsets"]; }),
                 {"model.safetensors", "tensor"});
  expect_refused(with([&](auto& h) { h[name]["shape"] = {std::uint64_t{1} << 62, 8}; }), {name});
  expect_refused(with([&](auto& h) { h[name]["dtype"] = "F64"; }), {name, "bytes"});
}

TEST_F(BadModel, TensorsThatDoNotFitTheConfigurationAreNamed) {
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  Safetensors file = good_tensors();
  file.header[name]["shape"] = {64, 128};
  expect_refused(with_weights(file.bytes()), {name, "[64, 128]", "[128, 64]"});
  file = good_tensors();
  file.header[name + "x"] = file.header[name];
  file.header.erase(name);
  expect_refused(with_weights(file.bytes()), {name, "config.json"});
}

TEST_F(BadModel, WeightsThatAreNotReadAreNeverReplacedByRandomOnes) {
  const std::string dangling = with_config(read_file(good() + "/config.json"));
  fs::create_symlink("/nonexistent/blob", dangling + "/model.safetensors");
  expect_refused(dangling, {dangling, "model.safetensors"});
  const std::string pickled = with_config(read_file(good() + "/config.json"));
  write_file(pickled + "/pytorch_model.bin", "PK");
  expect_refused(pickled, {pickled, "safetensors"});
  const std::string no_index = with_config(read_file(good() + "/config.json"));
  write_file(no_index + "/model-00001-of-00002.safetensors", good_bytes());
  expect_refused(no_index, {no_index, "model.safetensors.index.json"}, true);
}

TEST_F(BadModel, AShardThatIsMissingIsNamed) {
  Training run{.model = small_model(), .steps = 1};
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  const std::string model = exported(run.out, {"--max-shard-size", "200KB"});
  fs::remove(model + "/model-00002-of-00003.safetensors");
  ASSERT_TRUE(fs::exists(model + "/model-00003-of-00003.safetensors"));
  expect_refused(model, {"model-00002-of-00003.safetensors", "missing"});
}

TEST_F(BadModel, GenerationNeedsWeightsAndPrintsNothingWithout) {
  EXPECT_TRUE(refused(
      fathom({"generate", "--model", small_model(), "--prompt", "Once", "--max-new-tokens", "4"}),
      1, {"model.safetensors", small_model()}));
}

TEST_F(BadModel, TokensBeyondTheVocabularyAreNamedInPromptsAndFiles) {
  const Arguments generate = {"generate", "--model", good(), "--max-new-tokens", "2"};
  EXPECT_TRUE(refused(fathom(generate + Arguments{"--prompt-ids", "1,256"}), 1, {"256"}));
  EXPECT_TRUE(refused(fathom(generate + Arguments{"--prompt-ids", "1,2,"}), 2, {"1,2,", "1,2,3"}));
  EXPECT_TRUE(
      refused(fathom({"generate", "--model", good(), "--prompt", "x", "--max-new-tokens", "128"}),
              1, {"128 new ones", "128 positions"}));

  const std::vector<std::int64_t> ids = {1, 2, 300, 4};
  Safetensors file;
  file.header["input_ids"] = {{"dtype", "I64"}, {"shape", {1, 4}}, {"data_offsets", {0, 32}}};
  file.body.assign(reinterpret_cast<const char*>(ids.data()), 32);
  const std::string path = scratch_file("ids.safetensors", file.bytes());
  const std::string logits = new_scratch_name("logits");
  EXPECT_TRUE(
      refused(fathom({"eval", "--model", good(), "--input-ids", path, "--logits-out", logits}), 1,
              {path, "element 2", "300", "256"}));
  EXPECT_FALSE(fs::exists(logits));
}

TEST_F(BadModel, GenerationWithoutALimitEndsWithThePositions) {
  const Outcome done =
      fathom({"generate", "--model", good(), "--prompt", "x", "--ignore-eos", "--json"});
  ASSERT_TRUE(succeeded(done));
  const json made = json::parse(done.out);
  EXPECT_EQ(made.at("prompt_tokens").get<std::uint64_t>() + made.at("ids").size(), 128U);
}

TEST_F(BadModel, PromptsThatAreNoneAreNamedByLine) {
  const Arguments generate = {"generate", "--model", good(), "--prompts"};
  EXPECT_TRUE(refused(
      fathom(generate + Arguments{scratch_file("p.jsonl", "{\"prompt\":\"a\"}\n{\"x\":1}\n")}), 1,
      {"p.jsonl:2", "prompt"}));
  EXPECT_TRUE(
      refused(fathom({"tokenize", "--model", "/nonexistent/model"}), 1, {"/nonexistent/model"}));
  EXPECT_TRUE(refused(fathom({"tokenize", "--model", good(), "--jsonl"}, {.input = "3\n"}), 1,
                      {"line 1", "JSON string"}));
}

}  // namespace
}  // namespace fathom::tools
