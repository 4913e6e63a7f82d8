// SPDX-License-Identifier: Apache-2.0
#include "models/text_pattern.hpp"

#include <utility>

#include <nlohmann/json.hpp>

namespace fathom::models {

Result<TextPattern> TextPattern::from_json(const nlohmann::json& step, PartPlace place) {
  const auto pattern = step.find("pattern");
  if (pattern == step.end() || !pattern->is_object())
    return fail(malformed_part(place, "a step has no pattern"));
  if (pattern->contains("String") && (*pattern)["String"].is_string())
    return TextPattern(part_text(*pattern, "String"));
  if (!pattern->contains("Regex") || !(*pattern)["Regex"].is_string())
    return fail(malformed_part(place, "a pattern is neither a String nor a Regex"));
  auto regex = Regex::compile(part_text(*pattern, "Regex"));
  if (!regex) {
    return fail(std::move(regex.error())
                    .within(std::string(place.origin) + ", \"" + std::string(place.part) + "\""));
  }
  return TextPattern(std::move(*regex));
}

void TextPattern::split(
    std::string_view text,
    const std::function<void(std::string_view part, bool matched)>& each) const {
  std::size_t done = 0;
  const auto match = [&](std::size_t begin, std::size_t end) {
    if (begin > done) each(text.substr(done, begin - done), false);
    each(text.substr(begin, end - begin), true);
    done = end;
  };
  if (regex_) {
    Regex::Search search(*regex_, text);
    while (const auto found = search.next()) match(found->begin, found->end);
  } else if (!literal_.empty()) {
    for (std::size_t at; (at = text.find(literal_, done)) != std::string_view::npos;)
      match(at, at + literal_.size());
  }
  if (done < text.size()) each(text.substr(done), false);
}

std::string TextPattern::replace(std::string_view text, std::string_view content) const {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  split(text, [&](std::string_view part, bool matched) { out += matched ? content : part; });
  return out;
}

}  // namespace fathom::models
