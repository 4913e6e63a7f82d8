// SPDX-License-Identifier: Apache-2.0
//
// Normalizer: the "normalizer" and "pre_tokenizer" parts of tokenizer.json that SentencePiece-style
// models use. Internal to the tokenizer.
//
// Purpose      Prepend, Replace with a literal pattern, Sequence; Metaspace as pre-tokenizer.
// Others
//              are refused by name.
// Threads      Immutable once built.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"

namespace fathom::models {

class Normalizer {
 public:
  // `json` is the value of "normalizer", null included.
  static Result<Normalizer> from_json(const nlohmann::json& json, std::string_view origin);

  std::string apply(std::string_view text) const;

 private:
  // An empty pattern means: put `content` in front of a text that is not empty.
  struct Step {
    std::string pattern, content;
  };
  std::vector<Step> steps_;
};

// Metaspace: spaces become a visible mark; words begin at a mark.
class Metaspace {
 public:
  enum class Prepend : std::uint8_t { always, first, never };

  // `json` is the value of "pre_tokenizer": null (does nothing) or Metaspace.
  static Result<Metaspace> from_json(const nlohmann::json& json, std::string_view origin);

  bool active() const { return active_; }
  bool splits() const { return split_; }
  // `first`: the piece begins at the start of the input.
  std::string apply(std::string_view text, bool first) const;
  // Calls back with the words of a text that went through apply.
  template <class F>
  void words(std::string_view text, F&& each) const {
    std::size_t begin = 0;
    while (begin < text.size()) {
      std::size_t end = std::string_view::npos;
      if (split_) end = text.find(mark_, begin + 1);
      if (end == std::string_view::npos) end = text.size();
      each(text.substr(begin, end - begin));
      begin = end;
    }
  }

 private:
  bool active_ = false, split_ = true;
  Prepend prepend_ = Prepend::always;
  std::string mark_;
};

}  // namespace fathom::models
