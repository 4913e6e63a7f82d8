// SPDX-License-Identifier: Apache-2.0
//
// TextPattern: the "pattern" of Split and Replace: a literal text or a regular expression. Internal
// to the tokenizer.
//
// Threads      Immutable once built.
//
//   FATHOM_ASSIGN(const auto pattern, TextPattern::from_json(json["pattern"], place));
//   pattern.split(text, [](std::string_view part, bool matched) { … });
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"
#include "models/regex.hpp"
#include "models/tokenizer_part.hpp"

namespace fathom::models {

class TextPattern {
 public:
  // `step` has the key "pattern": {"String": …} or {"Regex": …}.
  static Result<TextPattern> from_json(const nlohmann::json& step, PartPlace place);
  explicit TextPattern(Regex regex) : regex_(std::move(regex)) {}
  explicit TextPattern(std::string literal) : literal_(std::move(literal)) {}

  // The text in order: what matches and what lies between. Matches may be empty.
  void split(std::string_view text,
             const std::function<void(std::string_view part, bool matched)>& each) const;

  std::string replace(std::string_view text, std::string_view content) const;

 private:
  std::string literal_;  // when there is no regex; an empty one matches nowhere
  std::optional<Regex> regex_;
};

}  // namespace fathom::models
