// SPDX-License-Identifier: Apache-2.0
//
// PostProcessor: the "post_processor" part of tokenizer.json: the tokens around a text. Internal to
// the tokenizer.
//
// Purpose      TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel (which concerns
//              offsets only) and Sequence; for one text, not for pairs.
// Threads      Immutable once built.
#pragma once

#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"
#include "models/token_id.hpp"

namespace fathom::models {

struct PostProcessor {
  std::vector<TokenId> prefix, suffix;

  // `json` is the value of "post_processor", null included; ids are below `vocabulary`.
  static Result<PostProcessor> from_json(const nlohmann::json& json, std::string_view origin,
                                         std::size_t vocabulary);
};

}  // namespace fathom::models
