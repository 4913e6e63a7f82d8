// SPDX-License-Identifier: Apache-2.0
//
// generate: continues prompts, token by token, one sweep of the weights for all of them.
//
// Purpose      Greedy, or sampled (sampler.hpp) with numbers that depend on the seed, the prompt
//              and the position only: neither the other prompts nor their order change a text.
//              Prompts of different lengths are padded on the left; a row that has ended keeps
//              taking part until all have.
// Threads      One call at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/run.hpp"
#include "engine/sampler.hpp"

namespace fathom::engine {

struct GenerateOptions : InferenceOptions {
  std::vector<std::string> prompts;                   // texts …
  std::vector<std::vector<std::int64_t>> prompt_ids;  // … or ids
  // Absent: 128, or as many as the model has positions for.
  std::optional<std::uint64_t> max_new_tokens;
  bool ignore_eos = false;
  std::vector<std::string> stop;  // a text ends in front of the first of these
  Sampling sampling;
  std::size_t skip = 0;  // so many prompts are done already
};

struct Generation {
  std::string text;               // of the new tokens, up to a stop string
  std::vector<std::int64_t> ids;  // new tokens, without the end-of-text token
  std::uint64_t prompt_tokens = 0;
  double seconds = 0;  // of the batch it was in, without loading
  std::uint64_t sweeps = 0;
  StepBytes bytes;
};

nlohmann::json generation_json(const Generation& generation);

// Text as it becomes certain, of prompt `index`; for a terminal.
using TextSink = std::function<void(std::size_t index, const std::string& text)>;

// Each prompt's result, in input order, as soon as its batch is done. An Error ends the run.
using ResultSink = std::function<Result<void>(std::size_t index, const Generation& result)>;

// The results of the prompts that were not skipped.
Result<std::vector<Generation>> generate(const GenerateOptions& options, const TextSink& sink,
                                         const ResultSink& done = {});

}  // namespace fathom::engine
