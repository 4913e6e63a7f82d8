// SPDX-License-Identifier: Apache-2.0
//
// Unigram: the most likely way to write a word as pieces. Internal to the tokenizer.
//
// Purpose      A best path over the word's bytes (Viterbi), in double precision and in the order of
//              the reference library, so that ties fall alike: of equal paths the one whose last
//              piece begins first. Neighbouring unknown characters are one unknown.
// Threads      Immutable once built.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/token_model.hpp"
#include "models/vocabulary.hpp"

namespace fathom::models {

class Unigram final : public TokenModel {
 public:
  static Result<std::unique_ptr<Unigram>> from_json(const nlohmann::json& json,
                                                    std::string_view origin);

  void encode(std::string_view text, std::vector<TokenId>& out) const override;
  std::optional<TokenId> find(std::string_view piece) const override { return ids_.find(piece); }
  void each_piece(const std::function<void(std::string_view, TokenId)>& each) const override;

 private:
  struct Step {  // the best path that ends at a byte
    double score = 0;
    std::int64_t begin = -1;  // of its last piece; -1: no path ends here
    TokenId id = 0;
  };
  std::vector<Step> best_path(std::string_view text) const;
  void push_piece(std::string_view piece, std::vector<TokenId>& out) const;

  std::vector<std::string> pieces_;  // by id
  std::vector<double> scores_;       // by id
  std::vector<TokenId> sorted_;      // ids in the order of their pieces, each piece once
  Vocabulary ids_;
  TokenId unknown_ = 0;
  double unknown_score_ = 0;
  bool byte_fallback_ = false;
};

}  // namespace fathom::models
