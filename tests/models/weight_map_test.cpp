// SPDX-License-Identifier: Apache-2.0
#include "models/weight_map.hpp"

#include <cstddef>
#include <functional>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "fixtures.hpp"
#include "models/hf_config.hpp"
#include "models/safetensors_writer.hpp"

namespace fathom::models {
namespace {

ModelSpec spec_of(const char* changes) {
  nlohmann::json json = {{"model_type", "gpt2"}, {"vocab_size", 8},  {"n_embd", 4},
                         {"n_layer", 2},         {"n_positions", 6}, {"n_head", 2}};
  json.merge_patch(nlohmann::json::parse(changes));
  return *parse_config(json.dump(), "config.json");
}

class WeightMaps : public testing::Test {
 protected:
  // A file with a tensor for each parameter, after `change` had its way with the list.
  SafetensorsReader file_of(const ModelSpec& spec,
                            const std::function<void(std::vector<TensorDeclaration>&)>& change) {
    std::vector<TensorDeclaration> tensors;
    for (const UnitSpec& unit : spec.units) {
      for (const ParameterSpec& parameter : unit.parameters) {
        tensors.push_back({parameter.name, Dtype::bf16, parameter.shape});
      }
    }
    change(tensors);
    const std::filesystem::path path = directory_.path() / "model.safetensors";
    std::filesystem::remove(path);
    auto writer = SafetensorsWriter::create_file(path.string(), tensors);
    EXPECT_TRUE(writer) << writer.error().message();
    for (const TensorDeclaration& tensor : tensors) {
      std::size_t bytes = bits(tensor.dtype) / 8;
      for (const std::int64_t size : tensor.shape) bytes *= static_cast<std::size_t>(size);
      EXPECT_TRUE(writer->append(std::vector<std::byte>(bytes)));
    }
    EXPECT_TRUE(writer->finish());
    auto reader = SafetensorsReader::open(path);
    EXPECT_TRUE(reader) << reader.error().message();
    return std::move(*reader);
  }
  std::string verdict(const ModelSpec& spec,
                      const std::function<void(std::vector<TensorDeclaration>&)>& change) {
    const SafetensorsReader reader = file_of(spec, change);
    const auto map = WeightMap::match(reader, spec);
    return map ? "accepted" : map.error().message();
  }
  TemporaryDirectory directory_;
};

TEST_F(WeightMaps, FindParametersWithAndWithoutThePrefix) {
  const ModelSpec spec = spec_of("{}");
  for (const bool bare : {false, true}) {
    const SafetensorsReader reader = file_of(spec, [&](auto& tensors) {
      for (auto& tensor : tensors) {
        if (bare) tensor.name.erase(0, spec.optional_prefix.size());
      }
    });
    const auto map = WeightMap::match(reader, spec);
    ASSERT_TRUE(map) << map.error().message();
    EXPECT_EQ(map->of("transformer.h.1.ln_2.bias").name,
              bare ? "h.1.ln_2.bias" : "transformer.h.1.ln_2.bias");
  }
}

TEST_F(WeightMaps, IgnoreWhatFilesOfTheFamilyAreKnownToHold) {
  EXPECT_EQ(verdict(spec_of("{}"),
                    [](auto& tensors) {
                      tensors.push_back({"transformer.h.0.attn.bias", Dtype::u8, {1, 1, 6, 6}});
                      tensors.push_back({"h.1.attn.masked_bias", Dtype::f32, {1}});
                      tensors.push_back({"lm_head.weight", Dtype::f32, {8, 4}});
                    }),
            "accepted");
}

TEST_F(WeightMaps, NameEveryTensorThatDoesNotFit) {
  const std::string text = verdict(spec_of("{}"), [](auto& tensors) {
    std::erase_if(tensors, [](const auto& tensor) {
      return tensor.name == "transformer.ln_f.bias" ||
             tensor.name == "transformer.h.1.attn.c_proj.weight";
    });
    for (auto& tensor : tensors) {
      if (tensor.name == "transformer.wpe.weight") tensor.shape = {5, 4};
      if (tensor.name == "transformer.h.0.mlp.c_fc.weight") tensor.shape = {16, 4};
      if (tensor.name == "transformer.h.0.ln_1.weight") tensor.dtype = Dtype::i32;
    }
    tensors.push_back({"transformer.h.2.ln_1.weight", Dtype::f32, {4}});
    tensors.push_back({"score.weight", Dtype::f32, {2, 4}});
  });
  EXPECT_NE(text.find("missing: transformer.h.1.attn.c_proj.weight, transformer.ln_f.bias"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("score.weight"), std::string::npos) << text;
  EXPECT_NE(text.find("transformer.h.2.ln_1.weight"), std::string::npos) << text;
  EXPECT_NE(text.find("transformer.wpe.weight is [5, 4], config.json makes it [6, 4]"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("transformer.h.0.mlp.c_fc.weight is [16, 4], config.json makes it [4, 16]"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("transformer.h.0.ln_1.weight has dtype I32"), std::string::npos) << text;
}

TEST_F(WeightMaps, AnUntiedHeadIsNeededAndATiedOneIsNot) {
  const ModelSpec untied = spec_of(R"({"tie_word_embeddings":false})");
  const std::string text = verdict(untied, [](auto& tensors) {
    std::erase_if(tensors, [](const auto& tensor) { return tensor.name == "lm_head.weight"; });
  });
  EXPECT_NE(text.find("missing: lm_head.weight"), std::string::npos) << text;
  EXPECT_EQ(verdict(untied, [](auto&) {}), "accepted");
}

TEST(MatchesName, AStarIsOnePartOfAName) {
  EXPECT_TRUE(matches_name("h.*.attn.bias", "h.11.attn.bias"));
  EXPECT_FALSE(matches_name("h.*.attn.bias", "h.1.attn.bias.x"));
  EXPECT_FALSE(matches_name("h.*.attn.bias", "h.1.2.attn.bias"));
  EXPECT_FALSE(matches_name("h.*.attn.bias", "h.1.attn"));
  EXPECT_TRUE(matches_name("a", "a"));
  EXPECT_FALSE(matches_name("a", "b"));
}

}  // namespace
}  // namespace fathom::models
