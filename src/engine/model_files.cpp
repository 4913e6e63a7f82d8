// SPDX-License-Identifier: Apache-2.0
#include "engine/model_files.hpp"

#include <filesystem>

#include "base/text_file.hpp"

namespace fathom::engine {

namespace fs = std::filesystem;

bool has_weights(const std::string& model) {
  if (model.empty()) return false;
  // Links that lead nowhere and formats that aren't read count too: whoever has them means weights,
  // and must not get random ones.
  std::error_code ignored;
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"})
    if (fs::exists(fs::symlink_status(fs::path(model) / name, ignored))) return true;
  for (const auto& entry : fs::directory_iterator(model, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("pytorch_model") ||
        (name.starts_with("model") && name.ends_with(".safetensors")))
      return true;
  }
  return false;
}

Result<void> copy_model_files(const std::string& model, const std::string& directory) {
  static constexpr const char* names[] = {"config.json",     "generation_config.json",
                                          "tokenizer.json",  "tokenizer_config.json",
                                          "tokenizer.model", "special_tokens_map.json"};
  // A preset is the file itself, whatever its name.
  std::error_code ignored;
  const bool preset = !fs::is_directory(model, ignored);
  for (const char* name : names) {
    const fs::path from = preset ? fs::path(model) : fs::path(model) / name;
    if (preset && std::string(name) != "config.json") continue;
    const fs::path parent = from.parent_path().empty() ? fs::path(".") : from.parent_path();
    if (!fs::exists(from, ignored) || fs::equivalent(parent, directory, ignored)) continue;
    FATHOM_ASSIGN(const std::string text, read_text_file(from.string()));
    FATHOM_CHECK(write_text_file((fs::path(directory) / name).string(), text));
  }
  return {};
}

}  // namespace fathom::engine
