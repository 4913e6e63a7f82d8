// SPDX-License-Identifier: Apache-2.0
//
// Tokenizer::State: the parts of a tokenizer.json put together. Internal to the tokenizer.
//
// Threads      Immutable once built.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "models/added_tokens.hpp"
#include "models/decoder.hpp"
#include "models/normalizer.hpp"
#include "models/post_processor.hpp"
#include "models/pre_tokenizer.hpp"
#include "models/sentencepiece_model.hpp"
#include "models/token_model.hpp"
#include "models/tokenizer.hpp"

namespace fathom::models {

struct Tokenizer::State {
  struct Piece {
    std::string text;
    bool known = false, special = false;
  };
  using Sink = std::function<void(std::span<const TokenId>)>;

  std::unique_ptr<TokenModel> model;                  // from tokenizer.json …
  std::unique_ptr<SentencePieceModel> sentencepiece;  // … or tokenizer.model; neither: bytes
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Decoder decoder;
  AddedTokens raw, normalized;  // matched before and after normalisation
  PostProcessor around;
  std::vector<Piece> pieces;  // by id

  Result<void> read_pieces(std::string_view origin);
  Result<void> read_added(const nlohmann::json& json, std::string_view origin);
  void add_token(AddedToken token);
  void set_piece(TokenId id, std::string text, bool special);
  // `first`: the text begins the input.
  void encode_segment(std::string_view text, bool first, const Sink& sink) const;
};

}  // namespace fathom::models
