// SPDX-License-Identifier: Apache-2.0
//
// Hugging Face config.json → ModelSpec.
//
// Purpose      Reads the keys of transformers 4 (rope_theta, rope_scaling, torch_dtype) and 5
//              (rope_parameters, dtype, layer_types). Families: llama, mistral, qwen2, qwen3. A
//              value that the blocks do not compute is refused by name, never approximated.
// Errors       not_found, bad_input (malformed), unsupported (valid, but not computed here).
// Threads      Pure functions.
//
//   FATHOM_ASSIGN(ModelSpec spec, load_config("/models/llama-3-8b"));
#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.hpp"
#include "models/spec.hpp"

namespace fathom::models {

// `path` is a model directory or a config file (a preset). In a directory, the eos_token_id of
// generation_config.json wins over that of config.json.
Result<ModelSpec> load_config(const std::filesystem::path& path);

// `origin` names the text in Errors.
Result<ModelSpec> parse_config(std::string_view json, std::string_view origin);

}  // namespace fathom::models
