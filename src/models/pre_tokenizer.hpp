// SPDX-License-Identifier: Apache-2.0
//
// PreTokenizer: the "pre_tokenizer" part of tokenizer.json: normalised text → words. Internal to
// the tokenizer.
//
// Purpose      ByteLevel, Split, Digits, Whitespace, WhitespaceSplit, Punctuation, Metaspace,
//              BertPreTokenizer, CharDelimiterSplit and Sequence. Others are refused by name. Words
//              go from step to step one at a time, so that a text of any length needs no list of
//              them.
// Threads      Immutable once built.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"

namespace fathom::models {

class PreTokenizer {
 public:
  using Sink = std::function<void(std::string_view word)>;

  // `json` is the value of "pre_tokenizer"; null leaves the text whole.
  static Result<PreTokenizer> from_json(const nlohmann::json& json, std::string_view origin);

  // Calls back with the words of `text`, none of them empty. `first`: it begins the input.
  void words(std::string_view text, bool first, const Sink& sink) const;

 private:
  struct Piece {
    std::string_view text;
    bool first;  // it stands at the start of the input
  };
  using Emit = std::function<void(Piece)>;
  using Step = std::function<void(Piece, const Emit&)>;
  static Result<Step> make_step(std::string_view type, const nlohmann::json& json,
                                std::string_view origin);
  static Result<Step> make_split(const nlohmann::json& json, std::string_view origin);
  static Result<Step> make_metaspace(const nlohmann::json& json, std::string_view origin);
  void run(std::size_t step, Piece piece, const Sink& sink) const;

  std::vector<Step> steps_;
};

}  // namespace fathom::models
