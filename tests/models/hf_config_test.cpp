// SPDX-License-Identifier: Apache-2.0
#include "models/hf_config.hpp"

#include <cmath>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "fixtures.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;

Json base_config() {
  return {{"model_type", "llama"},       {"vocab_size", 96},       {"hidden_size", 32},
          {"intermediate_size", 48},     {"num_hidden_layers", 2}, {"num_attention_heads", 4},
          {"num_key_value_heads", 2},    {"rms_norm_eps", 1e-5},   {"max_position_embeddings", 64},
          {"tie_word_embeddings", false}};
}

Result<ModelSpec> parse(const Json& json) { return parse_config(json.dump(), "config.json"); }

std::string refusal(const Json& json) {
  const auto spec = parse(json);
  return spec ? std::string("accepted") : spec.error().message();
}

TEST(HfConfig, ReadsSizesAndFillsDefaults) {
  Json json = base_config();
  json.erase("num_key_value_heads");
  json["rope_scaling"] = nullptr;
  const auto spec = parse(json);
  ASSERT_TRUE(spec) << spec.error().message();
  EXPECT_EQ(spec->family, "llama");
  EXPECT_EQ(spec->kv_heads, 4U);
  EXPECT_EQ(spec->head_dim, 8U);
  EXPECT_EQ(spec->dtype, "float32");
  EXPECT_EQ(spec->llama.rope.theta, 10000);
  EXPECT_EQ(spec->llama.activation, Activation::silu);
  EXPECT_FALSE(spec->tied_head);
}

TEST(HfConfig, UnitsHoldEveryParameterOnceUnderItsHuggingFaceName) {
  const auto spec = parse(base_config());
  ASSERT_TRUE(spec);
  ASSERT_EQ(spec->units.size(), 4U);
  EXPECT_EQ(spec->units[0].name, "embed_tokens");
  EXPECT_EQ(spec->units[2].name, "layers.1");
  EXPECT_EQ(spec->units[3].name, "head");
  EXPECT_EQ(spec->units[3].kind, UnitKind::head);
  std::set<std::string> names;
  for (const UnitSpec& unit : spec->units) {
    for (const ParameterSpec& parameter : unit.parameters) {
      EXPECT_TRUE(names.insert(parameter.name).second) << parameter.name;
    }
  }
  EXPECT_TRUE(names.contains("model.layers.1.self_attn.k_proj.weight"));
  EXPECT_TRUE(names.contains("model.norm.weight"));
  EXPECT_TRUE(names.contains("lm_head.weight"));
  // embedding + head + norm + 2 × (2 norms, q, k, v, o, three of the MLP)
  const std::uint64_t layer = 2 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32;
  EXPECT_EQ(spec->parameters(), 2 * 96 * 32 + 32 + 2 * layer);
  EXPECT_EQ(spec->units[1].matmul_elements, layer - 2 * 32);
  EXPECT_EQ(spec->units[0].matmul_elements, 0U);
}

TEST(HfConfig, ATiedHeadListsNoWeightButCountsItsProduct) {
  Json json = base_config();
  json["tie_word_embeddings"] = true;
  const auto spec = parse(json);
  ASSERT_TRUE(spec);
  EXPECT_TRUE(spec->tied_head);
  EXPECT_EQ(spec->units.back().parameters.size(), 1U);
  EXPECT_EQ(spec->units.back().matmul_elements, 96U * 32U);
}

TEST(HfConfig, HeadDimWinsOverTheQuotient) {
  Json json = base_config();
  json["head_dim"] = 16;
  const auto spec = parse(json);
  ASSERT_TRUE(spec);
  const auto& parameters = spec->units[1].parameters;
  EXPECT_EQ(parameters[1].shape, (std::vector<std::int64_t>{64, 32}));  // q
  EXPECT_EQ(parameters[4].shape, (std::vector<std::int64_t>{32, 64}));  // o
}

TEST(HfConfig, BiasesFollowTheirSwitches) {
  Json json = base_config();
  json["attention_bias"] = true;
  json["mlp_bias"] = true;
  const auto spec = parse(json);
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->units[1].parameters.size(), 9U + 4U + 3U);
  for (const ParameterSpec& parameter : spec->units[1].parameters) {
    const bool bias = parameter.name.ends_with(".bias");
    EXPECT_EQ(parameter.decays(), !bias && parameter.name.find("norm") == std::string::npos);
    EXPECT_EQ(parameter.init == Init::zeros, bias);
  }
}

TEST(HfConfig, AcceptsOldAndNewKeysForRopeAndDtype) {
  Json older = base_config(), newer = base_config();
  older["rope_theta"] = 5e5;
  older["torch_dtype"] = "bfloat16";
  newer["rope_parameters"] = {{"rope_theta", 5e5}, {"rope_type", "default"}};
  newer["dtype"] = "bfloat16";
  for (const Json& json : {older, newer}) {
    const auto spec = parse(json);
    ASSERT_TRUE(spec) << spec.error().message();
    EXPECT_EQ(spec->llama.rope.theta, 5e5);
    EXPECT_EQ(spec->dtype, "bfloat16");
  }
}

TEST(HfConfig, EndOfTextMayBeOneIdOrSeveral) {
  Json json = base_config();
  EXPECT_TRUE(parse(json)->eos_tokens.empty());
  json["eos_token_id"] = 2;
  EXPECT_EQ(parse(json)->eos_tokens, (std::vector<std::int64_t>{2}));
  json["eos_token_id"] = {5, 7};
  EXPECT_EQ(parse(json)->eos_tokens, (std::vector<std::int64_t>{5, 7}));
}

TEST(HfConfig, GenerationConfigDecidesAboutEndOfText) {
  const TemporaryDirectory directory;
  Json json = base_config();
  json["eos_token_id"] = 2;
  directory.write("config.json", json.dump());
  EXPECT_EQ(load_config(directory.path())->eos_tokens, (std::vector<std::int64_t>{2}));
  directory.write("generation_config.json", R"({"eos_token_id":[1,2]})");
  EXPECT_EQ(load_config(directory.path())->eos_tokens, (std::vector<std::int64_t>{1, 2}));
  // A preset is a file of any name.
  const auto preset = load_config(directory.write("preset.json", json.dump()));
  ASSERT_TRUE(preset);
  EXPECT_EQ(preset->eos_tokens, (std::vector<std::int64_t>{2}));
}

TEST(HfConfig, LlamaThreeScalingStretchesOnlyLongWavelengths) {
  Json json = base_config();
  json["head_dim"] = 16;
  const auto plain = rope_frequencies(parse(json)->llama.rope, 16);
  json["rope_scaling"] = {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 64}};
  const auto spec = parse(json);
  ASSERT_TRUE(spec) << spec.error().message();
  const auto scaled = rope_frequencies(spec->llama.rope, 16);
  ASSERT_EQ(plain.size(), 8U);
  int kept = 0, between = 0, stretched = 0;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const double wavelength = 2 * 3.14159265358979 / plain[i];
    if (wavelength < 16) {
      EXPECT_EQ(scaled[i], plain[i]);
      ++kept;
    } else if (wavelength > 64) {
      EXPECT_FLOAT_EQ(scaled[i], plain[i] / 8);
      ++stretched;
    } else {
      const double smooth = (64 / wavelength - 1) / 3;
      EXPECT_NEAR(scaled[i], (1 - smooth) * plain[i] / 8 + smooth * plain[i], 1e-6 * plain[i]);
      ++between;
    }
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(between, 0);
  EXPECT_GT(stretched, 0);
}

TEST(HfConfig, MistralAndQwenSetWindowsBiasesAndHeadNorms) {
  Json mistral = base_config();
  mistral["model_type"] = "mistral";
  mistral["sliding_window"] = 8;
  EXPECT_EQ(parse(mistral)->llama.windows, (std::vector<std::uint64_t>{8, 8}));
  mistral["sliding_window"] = nullptr;
  EXPECT_TRUE(parse(mistral)->llama.windows.empty());

  Json qwen = base_config();
  qwen["model_type"] = "qwen2";
  qwen["sliding_window"] = 8;
  qwen["max_window_layers"] = 1;
  EXPECT_TRUE(parse(qwen)->llama.windows.empty());
  EXPECT_TRUE(parse(qwen)->llama.qkv_bias);
  EXPECT_FALSE(parse(qwen)->llama.output_bias);
  qwen["use_sliding_window"] = true;
  EXPECT_EQ(parse(qwen)->llama.windows, (std::vector<std::uint64_t>{0, 8}));

  Json third = base_config();
  third["model_type"] = "qwen3";
  EXPECT_EQ(parse(third)->head_dim, 128U);
  EXPECT_TRUE(parse(third)->llama.head_norms);
}

TEST(HfConfig, RefusesByNameWhatItDoesNotCompute) {
  const auto with = [](const char* key, const Json& value) {
    Json json = base_config();
    json[key] = value;
    return refusal(json);
  };
  EXPECT_NE(with("model_type", "gpt_neox").find("supported: llama, mistral"), std::string::npos);
  EXPECT_NE(with("hidden_act", "mish").find("\"mish\""), std::string::npos);
  EXPECT_NE(with("rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}}).find("yarn"),
            std::string::npos);
  EXPECT_NE(with("torch_dtype", "int8").find("int8"), std::string::npos);
  EXPECT_NE(with("quantization_config", {{"bits", 4}}).find("quantization_config"),
            std::string::npos);
  EXPECT_NE(with("partial_rotary_factor", 0.5).find("partial_rotary_factor"), std::string::npos);
}

TEST(HfConfig, RefusesSizesThatNoModelHas) {
  const auto with = [](const char* key, const Json& value) {
    Json json = base_config();
    json[key] = value;
    return refusal(json);
  };
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads"}) {
    for (const Json& value : {Json(0), Json(-1), Json(1.5), Json("8"), Json(1ULL << 40)}) {
      EXPECT_NE(with(key, value).find(key), std::string::npos) << key << value;
    }
    Json json = base_config();
    json.erase(key);
    EXPECT_NE(refusal(json).find("missing"), std::string::npos) << key;
  }
  EXPECT_NE(with("num_key_value_heads", 3).find("does not divide"), std::string::npos);
  EXPECT_NE(with("num_attention_heads", 5).find("does not divide"), std::string::npos);
  EXPECT_NE(with("head_dim", 7).find("odd"), std::string::npos);
  EXPECT_NE(with("rms_norm_eps", 0).find("rms_norm_eps"), std::string::npos);
  EXPECT_NE(refusal(Json::array()).find("object"), std::string::npos);
  EXPECT_FALSE(parse_config("{\"a\":1,\"a\":2}", "x"));
  EXPECT_FALSE(parse_config("{", "x"));
}

TEST(HfConfig, ReadsTheReferenceModels) {
  FATHOM_NEEDS_SHARED("models/tiny-random");
  const std::filesystem::path models = shared_path() / "models";
  for (const char* name :
       {"llama", "llama3", "llama-bf16", "llama-sharded", "mistral", "qwen2", "qwen3"}) {
    const auto spec = load_config(models / "tiny-random" / name);
    EXPECT_TRUE(spec) << spec.error().message();
  }
  const auto story = load_config(models / "tinystories-260k");
  ASSERT_TRUE(story);
  EXPECT_TRUE(story->tied_head);
  EXPECT_EQ(story->eos_tokens, (std::vector<std::int64_t>{1, 2}));
  EXPECT_FALSE(load_config(models / "tiny-random/t5"));
}

TEST(LossChunkRows, KeepLogitsWithinTheirBudget) {
  ModelSpec spec;
  spec.vocabulary = 128'000;
  EXPECT_EQ(loss_chunk_rows(spec, 100'000), (128U << 20U) / (128'000U * 4U));
  EXPECT_EQ(loss_chunk_rows(spec, 10), 10U);
  spec.vocabulary = 1U << 30U;
  EXPECT_EQ(loss_chunk_rows(spec, 10), 1U);
}

}  // namespace
}  // namespace fathom::models
