// SPDX-License-Identifier: Apache-2.0
//
// generate: continues prompts, token by token, one sweep of the weights for all of them.
//
// Purpose      Greedy, or sampled by temperature, top-k and top-p with numbers that depend on
// (seed,
//              prompt index, position) only. Prompts of different lengths are padded on the left; a
//              row that has ended keeps taking part until all have.
// Threads      One call at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/run.hpp"

namespace fathom::engine {

struct GenerateOptions : InferenceOptions {
  std::vector<std::string> prompts;                   // texts …
  std::vector<std::vector<std::int64_t>> prompt_ids;  // … or ids
  // Absent: 128, or as many as the model has positions for.
  std::optional<std::uint64_t> max_new_tokens;
  bool ignore_eos = false;
  double temperature = 0;   // 0: greedy
  std::uint64_t top_k = 0;  // 0: all
  double top_p = 1;
};

struct Generation {
  std::string text;               // of the new tokens
  std::vector<std::int64_t> ids;  // new tokens, without the end-of-text token
  std::uint64_t prompt_tokens = 0;
  double seconds = 0;  // of the batch it was in, without loading
  std::uint64_t sweeps = 0;
  StepBytes bytes;
};

nlohmann::json generation_json(const Generation& generation);

// Text as it becomes certain, of prompt `index`; for a terminal.
using TextSink = std::function<void(std::size_t index, const std::string& text)>;

Result<std::vector<Generation>> generate(const GenerateOptions& options, const TextSink& sink);

}  // namespace fathom::engine
