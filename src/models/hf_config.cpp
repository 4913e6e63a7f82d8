// SPDX-License-Identifier: Apache-2.0
#include "models/hf_config.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/units.hpp"
#include "models/config_fields.hpp"
#include "models/families.hpp"
#include "models/text_file.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;
constexpr std::uint64_t config_limit = 16 * MiB;

Result<const Family*> family_of(const Fields& fields) {
  FATHOM_ASSIGN(const std::string type, fields.text("model_type", ""));
  if (type.empty()) {
    const Json* names = fields.find("architectures");
    const bool named = names != nullptr && names->is_array() && names->size() == 1;
    for (const Family& family : families()) {
      if (named && names->front() == family.architecture) return &family;
    }
    return fail(fields.bad("model_type", "the key is missing"));
  }
  for (const Family& family : families()) {
    if (type == family.model_type) return &family;
  }
  return fail(fields.unsupported("model_type", "\"" + type + "\"", family_names()));
}

Result<std::string> dtype_of(const Fields& fields) {
  FATHOM_ASSIGN(const std::string older, fields.text("torch_dtype", "float32"));
  FATHOM_ASSIGN(std::string dtype, fields.text("dtype", older.c_str()));
  for (const char* known : {"float32", "bfloat16", "float16"}) {
    if (dtype == known) return dtype;
  }
  return fail(fields.unsupported("torch_dtype", "\"" + dtype + "\"", "float32, bfloat16, float16"));
}

// Keys that mean the same in every family.
Result<void> read_common(const Fields& fields, ModelSpec& spec) {
  FATHOM_ASSIGN(spec.vocabulary, fields.size("vocab_size", std::nullopt, vocabulary_limit));
  FATHOM_ASSIGN(spec.dtype, dtype_of(fields));
  FATHOM_ASSIGN(const std::vector<std::int64_t> bos, fields.tokens("bos_token_id"));
  if (!bos.empty()) spec.bos_token = bos.front();
  FATHOM_ASSIGN(spec.eos_tokens, fields.tokens("eos_token_id"));
  FATHOM_ASSIGN(const std::vector<std::int64_t> padding, fields.tokens("pad_token_id"));
  if (padding.size() == 1 && static_cast<std::uint64_t>(padding[0]) < spec.vocabulary) {
    spec.pad_token = padding[0];
  }
  return {};
}

}  // namespace

Result<ModelSpec> parse_config(std::string_view json, std::string_view origin) {
  FATHOM_ASSIGN(const Json root, parse_json(json, origin));
  const Fields fields(root, std::string(origin));
  if (!root.is_object()) {
    return fail(Error(Errc::bad_input, "read the model's configuration")
                    .on(origin)
                    .because("it is not a JSON object")
                    .remedy("give the config.json of a Hugging Face model"));
  }
  if (fields.find("quantization_config") != nullptr) {
    return fail(fields.unsupported("quantization_config", "a quantised model",
                                   "float32, bfloat16 or float16 weights"));
  }
  FATHOM_ASSIGN(const Family* family, family_of(fields));
  ModelSpec spec;
  spec.family = family->model_type;
  FATHOM_CHECK(read_common(fields, spec));
  FATHOM_CHECK(family->read(fields, spec));
  return spec;
}

Result<ModelSpec> load_config(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool directory = std::filesystem::is_directory(path, ignored);
  const std::filesystem::path file = directory ? path / "config.json" : path;
  FATHOM_ASSIGN(const std::string text, read_text_file(file, config_limit));
  FATHOM_ASSIGN(ModelSpec spec, parse_config(text, file.string()));
  const std::filesystem::path generation = path / "generation_config.json";
  if (directory && std::filesystem::exists(generation, ignored)) {
    FATHOM_ASSIGN(const std::string more, read_text_file(generation, config_limit));
    FATHOM_ASSIGN(const Json root, parse_json(more, generation.string()));
    if (root.is_object()) {
      FATHOM_ASSIGN(std::vector<std::int64_t> eos,
                    Fields(root, generation.string()).tokens("eos_token_id"));
      if (!eos.empty()) spec.eos_tokens = std::move(eos);
    }
  }
  return spec;
}

}  // namespace fathom::models
