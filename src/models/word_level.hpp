// SPDX-License-Identifier: Apache-2.0
//
// WordLevel: one token for each word of the vocabulary, another for all others. Internal to the
// tokenizer.
//
// Threads      Immutable once built.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "models/token_model.hpp"
#include "models/vocabulary.hpp"

namespace fathom::models {

class WordLevel final : public TokenModel {
 public:
  static Result<std::unique_ptr<WordLevel>> from_json(const nlohmann::json& json,
                                                      std::string_view origin);

  void encode(std::string_view text, std::vector<TokenId>& out) const override {
    const auto id = ids_.find(text);
    if (const auto known = id ? id : unknown_) out.push_back(*known);
  }
  std::optional<TokenId> find(std::string_view piece) const override { return ids_.find(piece); }
  void each_piece(const std::function<void(std::string_view, TokenId)>& each) const override {
    ids_.each(each);
  }

 private:
  Vocabulary ids_;
  std::optional<TokenId> unknown_;
};

}  // namespace fathom::models
