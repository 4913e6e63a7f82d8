// SPDX-License-Identifier: Apache-2.0
#include "engine/model_files.hpp"

#include <filesystem>

#include "base/text_file.hpp"

namespace fathom::engine {

namespace fs = std::filesystem;

bool has_weights(const std::string& model) {
  return fs::exists(fs::path(model) / "model.safetensors") ||
         fs::exists(fs::path(model) / "model.safetensors.index.json");
}

Result<void> copy_model_files(const std::string& model, const std::string& directory) {
  static constexpr const char* names[] = {"config.json",     "generation_config.json",
                                          "tokenizer.json",  "tokenizer_config.json",
                                          "tokenizer.model", "special_tokens_map.json"};
  // A preset is the file itself, whatever its name.
  const bool preset = !fs::is_directory(model);
  for (const char* name : names) {
    const fs::path from = preset ? fs::path(model) : fs::path(model) / name;
    if (preset && std::string(name) != "config.json") continue;
    if (!fs::exists(from) ||
        fs::equivalent(from.parent_path().empty() ? fs::path(".") : from.parent_path(), directory))
      continue;
    FATHOM_ASSIGN(const std::string text, read_text_file(from.string()));
    FATHOM_CHECK(write_text_file((fs::path(directory) / name).string(), text));
  }
  return {};
}

}  // namespace fathom::engine
