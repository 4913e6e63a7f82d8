// SPDX-License-Identifier: Apache-2.0
//
// Small model configurations for tests of the engine.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include <fmt/format.h>

#include "models/hf_config.hpp"

namespace fathom::engine::testing_specs {

inline std::string llama_json(std::uint64_t layers, std::uint64_t hidden, std::uint64_t vocabulary,
                              bool tied, const char* dtype = "bfloat16") {
  return fmt::format(
      R"({{"model_type":"llama","hidden_size":{},"num_hidden_layers":{},"vocab_size":{},"intermediate_size":{},)"
      R"("num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":256,"rms_norm_eps":1e-5,)"
      R"("hidden_act":"silu","initializer_range":0.05,"tie_word_embeddings":{},"torch_dtype":"{}","rope_theta":10000.0,)"
      R"("bos_token_id":1,"eos_token_id":2}})",
      hidden, layers, vocabulary, hidden * 5 / 2, tied, dtype);
}

inline models::ModelSpec llama_spec(std::uint64_t layers, std::uint64_t hidden,
                                    std::uint64_t vocabulary, bool tied) {
  auto spec = models::parse_config(llama_json(layers, hidden, vocabulary, tied), "test model");
  if (!spec) throw std::runtime_error(spec.error().message());
  return std::move(*spec);
}

}  // namespace fathom::engine::testing_specs
