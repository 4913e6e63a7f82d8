// SPDX-License-Identifier: Apache-2.0
//
// evaluate: the loss of a text, or the logits of given tokens.
//
// Threads      One call at a time.
// Units        Loss in nats per prediction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "engine/run.hpp"

namespace fathom::engine {

struct EvaluateOptions : InferenceOptions {
  std::string data;  // text, .jsonl, .bin or a directory …
  std::optional<std::uint64_t> seq_len;
  bool wide_data = false;
  models::Packing packing = models::Packing::automatic;
  std::optional<std::uint64_t> target_len;  // of the decoder in encoder-decoder models
  std::string input_ids, logits_out;        // … or safetensors in and, optionally, out
  bool log_probabilities = false;           // of every predicted token
};

// {"loss","perplexity","tokens","seconds","sweeps","bytes"}, and "logprobs" when asked for: one
// list a row, a number for each position's next token or label, null where there is none. With
// input_ids, `loss` is next-token over the positions whose token and next token are not padding; of
// an encoder-decoder model it is that of the labels, and null without them.
Result<nlohmann::json> evaluate(const EvaluateOptions& options);

}  // namespace fathom::engine
