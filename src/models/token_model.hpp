// SPDX-License-Identifier: Apache-2.0
//
// TokenModel: the "model" part of tokenizer.json: words → token ids. Internal to the tokenizer.
//
// Purpose      One interface over BPE, Unigram and WordLevel; other kinds are refused by name.
// Threads      Immutable once built.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"
#include "models/token_id.hpp"

namespace fathom::models {

class TokenModel {
 public:
  TokenModel() = default;
  TokenModel(const TokenModel&) = delete;
  TokenModel& operator=(const TokenModel&) = delete;
  virtual ~TokenModel() = default;

  // Appends the ids of one word; `text` is well-formed UTF-8.
  virtual void encode(std::string_view text, std::vector<TokenId>& out) const = 0;
  virtual std::optional<TokenId> find(std::string_view piece) const = 0;
  // In no particular order.
  virtual void each_piece(const std::function<void(std::string_view, TokenId)>& each) const = 0;
};

// `json` is the value of "model".
Result<std::unique_ptr<TokenModel>> make_token_model(const nlohmann::json& json,
                                                     std::string_view origin);

}  // namespace fathom::models
