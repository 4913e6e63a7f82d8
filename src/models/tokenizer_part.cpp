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

namespace {

constexpr int deepest_nesting = 16;

Result<void> add_steps(const Json& json, const char* list_key, PartPlace place, int depth,
                       std::vector<PartStep>& steps) {
  FATHOM_ASSIGN(const std::string_view type, part_type(json, place));
  if (type != "Sequence") {
    steps.push_back({type, &json});
    return {};
  }
  if (depth == deepest_nesting)
    return fail(malformed_part(place, "Sequences are nested without end"));
  const auto list = json.find(list_key);
  if (list == json.end() || !list->is_array())
    return fail(malformed_part(place, fmt::format("Sequence has no {}", list_key)));
  for (const Json& step : *list) FATHOM_CHECK(add_steps(step, list_key, place, depth + 1, steps));
  return {};
}

}  // namespace

Result<std::vector<PartStep>> part_steps(const Json& json, const char* list_key, PartPlace place) {
  std::vector<PartStep> steps;
  FATHOM_CHECK(add_steps(json, list_key, place, 0, steps));
  return steps;
}

std::string part_text(const Json& json, const char* key) {
  const auto at = json.find(key);
  return at != json.end() && at->is_string() ? at->get<std::string>() : std::string();
}

bool part_flag(const Json& json, const char* key, bool fallback) {
  const auto at = json.find(key);
  return at != json.end() && at->is_boolean() ? at->get<bool>() : fallback;
}

}  // namespace fathom::models
