// SPDX-License-Identifier: Apache-2.0
#include "models/families.hpp"

namespace fathom::models {

std::span<const Family> families() {
  static constexpr Family all[] = {
      {"llama", "LlamaForCausalLM", read_llama},     {"mistral", "MistralForCausalLM", read_llama},
      {"qwen2", "Qwen2ForCausalLM", read_llama},     {"qwen3", "Qwen3ForCausalLM", read_llama},
      {"mixtral", "MixtralForCausalLM", read_llama}, {"gpt2", "GPT2LMHeadModel", read_gpt2},
      {"opt", "OPTForCausalLM", read_opt},           {"t5", "T5ForConditionalGeneration", read_t5},
  };
  return all;
}

std::string family_names() {
  std::string names;
  for (const Family& family : families()) {
    if (!names.empty()) names += ", ";
    names += family.model_type;
  }
  return names;
}

}  // namespace fathom::models
