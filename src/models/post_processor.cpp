// SPDX-License-Identifier: Apache-2.0
#include "models/post_processor.hpp"

#include <cstdint>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/tokenizer_part.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;
constexpr const char* part = "post_processor";

Result<TokenId> token_id(const Json& id, std::string_view origin, std::size_t vocabulary) {
  if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= vocabulary)
    return fail(malformed_part({origin, part}, id.dump() + " is not a token id"));
  return id.get<TokenId>();
}

Result<PostProcessor> from_template(const Json& json, std::string_view origin,
                                    std::size_t vocabulary) {
  const auto malformed = [&](std::string_view why) {
    return fail(malformed_part({origin, part}, why));
  };
  const auto single = json.find("single"), special = json.find("special_tokens");
  if (single == json.end() || !single->is_array())
    return malformed("it has no template \"single\"");
  PostProcessor made;
  bool after = false;
  for (const Json& item : *single) {
    if (item.is_object() && item.contains("Sequence")) {
      if (after) return malformed("\"single\" holds the text twice");
      after = true;
      continue;
    }
    const bool named = item.is_object() && item.contains("SpecialToken") &&
                       item["SpecialToken"].is_object() && item["SpecialToken"].contains("id") &&
                       item["SpecialToken"]["id"].is_string();
    if (!named) return malformed(item.dump() + " is no template item");
    const std::string name = item["SpecialToken"]["id"].get<std::string>();
    const bool defined = special != json.end() && special->is_object() && special->contains(name) &&
                         (*special)[name].is_object() && (*special)[name].contains("ids") &&
                         (*special)[name]["ids"].is_array();
    if (!defined) return malformed("\"" + name + "\" is not defined");
    for (const Json& entry : (*special)[name]["ids"]) {
      FATHOM_ASSIGN(const TokenId id, token_id(entry, origin, vocabulary));
      (after ? made.suffix : made.prefix).push_back(id);
    }
  }
  if (!after) return malformed("\"single\" leaves the text out");
  return made;
}

// "cls": ["[CLS]", 101] in front, "sep": ["[SEP]", 102] behind.
Result<PostProcessor> from_pair(const Json& json, std::string_view origin, std::size_t vocabulary) {
  PostProcessor made;
  for (const auto& [key, list] :
       {std::pair("cls", &PostProcessor::prefix), std::pair("sep", &PostProcessor::suffix)}) {
    const auto at = json.find(key);
    if (at == json.end() || !at->is_array() || at->size() != 2)
      return fail(malformed_part({origin, part}, fmt::format("it has no token \"{}\"", key)));
    FATHOM_ASSIGN(const TokenId id, token_id((*at)[1], origin, vocabulary));
    (made.*list).push_back(id);
  }
  return made;
}

}  // namespace

Result<PostProcessor> PostProcessor::from_json(const Json& json, std::string_view origin,
                                               std::size_t vocabulary) {
  PostProcessor made;
  if (json.is_null()) return made;
  FATHOM_ASSIGN(const auto steps, part_steps(json, "processors", {origin, part}));
  for (const auto& [type, step] : steps) {
    PostProcessor next;
    if (type == "TemplateProcessing") {
      FATHOM_ASSIGN(next, from_template(*step, origin, vocabulary));
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      FATHOM_ASSIGN(next, from_pair(*step, origin, vocabulary));
    } else if (type != "ByteLevel") {
      return fail(unsupported_part({origin, part}, fmt::format("\"{}\"", type),
                                   "null, TemplateProcessing, BertProcessing, RobertaProcessing, "
                                   "ByteLevel, Sequence"));
    }
    // A later step wraps what the earlier ones made.
    made.prefix.insert(made.prefix.begin(), next.prefix.begin(), next.prefix.end());
    made.suffix.insert(made.suffix.end(), next.suffix.begin(), next.suffix.end());
  }
  return made;
}

}  // namespace fathom::models
