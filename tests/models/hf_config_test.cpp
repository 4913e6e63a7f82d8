// SPDX-License-Identifier: Apache-2.0
#include "models/hf_config.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "fixtures.hpp"
#include "models/families.hpp"

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
  EXPECT_EQ(spec->causal.rope.theta, 10000);
  EXPECT_EQ(spec->causal.activation, Activation::silu);
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
    EXPECT_EQ(spec->causal.rope.theta, 5e5);
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
  const auto plain = rope_frequencies(parse(json)->causal.rope, 16);
  json["rope_scaling"] = {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 64}};
  const auto spec = parse(json);
  ASSERT_TRUE(spec) << spec.error().message();
  const auto scaled = rope_frequencies(spec->causal.rope, 16);
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
  EXPECT_EQ(parse(mistral)->causal.windows, (std::vector<std::uint64_t>{8, 8}));
  mistral["sliding_window"] = nullptr;
  EXPECT_TRUE(parse(mistral)->causal.windows.empty());

  Json qwen = base_config();
  qwen["model_type"] = "qwen2";
  qwen["sliding_window"] = 8;
  qwen["max_window_layers"] = 1;
  EXPECT_TRUE(parse(qwen)->causal.windows.empty());

  const auto biased = [&](Role role) {
    const ModelSpec spec = *parse(qwen);
    return std::ranges::any_of(spec.units[1].parameters, [&](const ParameterSpec& parameter) {
      return parameter.role == role && parameter.bias;
    });
  };
  EXPECT_TRUE(biased(Role::query) && biased(Role::key) && biased(Role::value));
  EXPECT_FALSE(biased(Role::output));
  qwen["use_sliding_window"] = true;
  EXPECT_EQ(parse(qwen)->causal.windows, (std::vector<std::uint64_t>{0, 8}));

  Json third = base_config();
  third["model_type"] = "qwen3";
  EXPECT_EQ(parse(third)->head_dim, 128U);
  EXPECT_EQ(parse(third)->units[1].parameters[5].name, "model.layers.0.self_attn.q_norm.weight");
}

TEST(HfConfig, EveryFamilyIsListedWithItsArchitecture) {
  for (const Family& family : families()) {
    EXPECT_NE(family_names().find(family.model_type), std::string::npos);
    EXPECT_STRNE(family.architecture, "");
  }
  Json json = base_config();
  json.erase("model_type");
  json["architectures"] = {"MistralForCausalLM"};
  const auto spec = parse(json);
  ASSERT_TRUE(spec) << spec.error().message();
  EXPECT_EQ(spec->family, "mistral");
}

TEST(HfConfig, FamiliesRefuseByNameWhatTheirBlocksDoNotCompute) {
  const Json gpt2 = {
      {"model_type", "gpt2"}, {"vocab_size", 8}, {"n_embd", 6}, {"n_layer", 1}, {"n_head", 3}};
  const Json opt = {{"model_type", "opt"},     {"vocab_size", 8},
                    {"hidden_size", 6},        {"ffn_dim", 8},
                    {"num_hidden_layers", 1},  {"num_attention_heads", 3},
                    {"word_embed_proj_dim", 6}};
  const Json t5 = {{"model_type", "t5"}, {"vocab_size", 8}, {"d_model", 6},  {"d_kv", 5},
                   {"d_ff", 8},          {"num_layers", 1}, {"num_heads", 3}};
  Json mixtral = base_config();
  mixtral["model_type"] = "mixtral";
  for (const Json& json : {gpt2, opt, t5, mixtral}) {
    const auto spec = parse(json);
    EXPECT_TRUE(spec) << spec.error().message();
  }
  const auto expect_refused = [](Json json, const char* key, const Json& value) {
    json[key] = value;
    EXPECT_NE(refusal(json).find(key), std::string::npos) << key << ": " << refusal(json);
  };
  expect_refused(gpt2, "scale_attn_weights", false);
  expect_refused(gpt2, "scale_attn_by_inverse_layer_idx", true);
  expect_refused(gpt2, "add_cross_attention", true);
  expect_refused(gpt2, "activation_function", "mish");
  expect_refused(gpt2, "n_head", 4);
  expect_refused(opt, "word_embed_proj_dim", 3);
  expect_refused(opt, "do_layer_norm_before", false);
  expect_refused(opt, "_remove_final_layer_norm", true);
  expect_refused(opt, "layer_norm_elementwise_affine", false);
  expect_refused(t5, "feed_forward_proj", "gated-mish");
  expect_refused(t5, "is_encoder_decoder", false);
  expect_refused(t5, "relative_attention_num_buckets", 3);
  expect_refused(t5, "relative_attention_max_distance", 8);
  expect_refused(mixtral, "num_experts_per_tok", 9);
  expect_refused(mixtral, "output_router_logits", true);
  Json dynamic = base_config();
  expect_refused(dynamic, "rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2}});
}

TEST(HfConfig, T5CarriesTheDecodersInputPastTheEncoderAndTablesDownTheirStacks) {
  const Json json = {
      {"model_type", "t5"}, {"vocab_size", 8}, {"d_model", 6},   {"d_kv", 5},
      {"d_ff", 8},          {"num_layers", 3}, {"num_heads", 3}, {"num_decoder_layers", 2}};
  const auto spec = parse(json);
  ASSERT_TRUE(spec) << spec.error().message();
  ASSERT_EQ(spec->units.size(), 1U + 3 + 2 + 1);
  const auto carry = [&](std::size_t unit, std::size_t input) {
    return spec->carries[spec->units[unit].inputs[input]];
  };
  EXPECT_EQ(spec->units[1].inputs.size(), 1U);
  EXPECT_EQ(spec->units[3].inputs.size(), 2U);
  EXPECT_EQ(carry(3, 1).rows, 32U);
  EXPECT_EQ(carry(3, 1).producer, 1U);
  // The decoder: its own input from the embedding, the encoder's output, the table.
  EXPECT_EQ(carry(4, 0).producer, 0U);
  EXPECT_EQ(carry(4, 0).side, Side::target);
  EXPECT_FALSE(carry(4, 0).shared);
  EXPECT_EQ(carry(5, 1).producer, 3U);
  EXPECT_EQ(carry(5, 1).last_user, 5U);
  EXPECT_TRUE(carry(5, 1).shared);
  EXPECT_EQ(carry(5, 2).producer, 4U);
  EXPECT_EQ(spec->units[6].inputs.size(), 1U);
  EXPECT_EQ(carry_elements(carry(5, 1), 2, {10, 7}), 2U * 10 * 6);
  EXPECT_EQ(carry_elements(carry(6, 0), 2, {10, 7}), 2U * 7 * 6);
  EXPECT_EQ(carry_elements(carry(5, 2), 2, {10, 7}), 32U * 3);
  EXPECT_EQ(unit_products(spec->units[4], {10, 7}),
            7.0 * (4 * 15 * 6 + 2 * 15 * 6 + 2 * 6 * 8) + 10.0 * (2 * 15 * 6));
}

TEST(RelativeBucket, FollowsTheReference) {
  const auto causal = [](std::int64_t away) { return relative_bucket(-away, false, 32, 128); };
  const std::vector<std::int64_t> distances = {0, 15, 16, 19, 21, 24, 27, 31, 64, 113, 5000};
  const std::vector<std::uint64_t> rows = {0, 15, 16, 17, 18, 19, 20, 21, 26, 31, 31};
  for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(causal(distances[i]), rows[i]);
  EXPECT_EQ(relative_bucket(3, false, 32, 128), 0U) << "a later key";
  const auto before = [](std::int64_t away) { return relative_bucket(-away, true, 32, 128); };
  const std::vector<std::int64_t> near = {7, 8, 12, 16, 23, 32, 64, 128};
  const std::vector<std::uint64_t> halves = {7, 8, 9, 10, 11, 12, 14, 15};
  for (std::size_t i = 0; i < near.size(); ++i) {
    EXPECT_EQ(before(near[i]), halves[i]);
    EXPECT_EQ(relative_bucket(near[i], true, 32, 128), 16 + halves[i]) << "a later key";
  }
}

TEST(HfConfig, RefusesByNameWhatItDoesNotCompute) {
  const auto with = [](const char* key, const Json& value) {
    Json json = base_config();
    json[key] = value;
    return refusal(json);
  };
  EXPECT_NE(with("model_type", "gpt_neox")
                .find("supported: llama, mistral, qwen2, qwen3, mixtral, gpt2, opt, t5"),
            std::string::npos);
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
  for (const char* name : {"llama", "llama3", "llama-bf16", "llama-sharded", "mistral", "qwen2",
                           "qwen3", "mixtral", "gpt2", "gpt2-hub", "opt", "t5", "t5-gated"}) {
    const auto spec = load_config(models / "tiny-random" / name);
    EXPECT_TRUE(spec) << spec.error().message();
  }
  const auto story = load_config(models / "tinystories-260k");
  ASSERT_TRUE(story);
  EXPECT_TRUE(story->tied_head);
  EXPECT_EQ(story->eos_tokens, (std::vector<std::int64_t>{1, 2}));
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
