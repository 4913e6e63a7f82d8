// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer_part.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace fathom::models {

using Json = nlohmann::json;

Error unsupported_part(PartPlace place, std::string_view found, std::string_view supported) {
  return Error(Errc::unsupported, "read a tokenizer")
      .on(fmt::format("{}, \"{}\"", place.origin, place.part))
      .because(fmt::format("{} is not supported", found))
      .remedy(fmt::format("supported: {}; other text can be tokenised elsewhere and given as .bin",
                          supported));
}

Error malformed_part(PartPlace place, std::string_view why) {
  return Error(Errc::bad_input, "read a tokenizer")
      .on(fmt::format("{}, \"{}\"", place.origin, place.part))
      .because(why)
      .remedy("fetch the tokenizer again");
}

Result<std::string_view> part_type(const Json& json, PartPlace place) {
  const auto at = json.find("type");
  if (at == json.end() || !at->is_string()) return fail(malformed_part(place, "it has no type"));
  return at->get_ref<const std::string&>();
}

Result<std::vector<PartStep>> part_steps(const Json& json, const char* list_key, PartPlace place) {
  FATHOM_ASSIGN(const std::string_view type, part_type(json, place));
  std::vector<PartStep> steps;
  if (type != "Sequence") {
    steps.push_back({type, &json});
    return steps;
  }
  const auto list = json.find(list_key);
  if (list == json.end() || !list->is_array())
    return fail(malformed_part(place, fmt::format("Sequence has no {}", list_key)));
  for (const Json& step : *list) {
    FATHOM_ASSIGN(const std::string_view inner, part_type(step, place));
    if (inner == "Sequence")
      return fail(unsupported_part(place, "a Sequence in a Sequence", "one Sequence"));
    steps.push_back({inner, &step});
  }
  return steps;
}

std::string part_text(const Json& json, const char* key) {
  const auto at = json.find(key);
  return at != json.end() && at->is_string() ? at->get<std::string>() : std::string();
}

Result<std::string> literal_pattern(const Json& json, PartPlace place) {
  const auto pattern = json.find("pattern");
  if (pattern == json.end() || !pattern->is_object())
    return fail(malformed_part(place, "Replace has no pattern"));
  if (!pattern->contains("String"))
    return fail(unsupported_part(place, "a Replace with " + pattern->dump(),
                                 "Replace with a String pattern"));
  std::string text = part_text(*pattern, "String");
  if (text.empty())
    return fail(malformed_part(place, "the pattern of Replace is not a text or is empty"));
  return text;
}

std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  std::size_t from = 0;
  for (std::size_t at; (at = text.find(pattern, from)) != std::string_view::npos;
       from = at + pattern.size()) {
    out += text.substr(from, at - from);
    out += content;
  }
  out += text.substr(from);
  return out;
}

}  // namespace fathom::models
