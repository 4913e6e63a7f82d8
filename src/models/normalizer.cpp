// SPDX-License-Identifier: Apache-2.0
#include "models/normalizer.hpp"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace fathom::models {

using Json = nlohmann::json;

Error unsupported_part(std::string_view origin, std::string_view part, std::string_view found,
                       std::string_view supported) {
  return Error(Errc::unsupported, "read a tokenizer")
      .on(fmt::format("{}, \"{}\"", origin, part))
      .because(fmt::format("{} is not supported", found))
      .remedy(fmt::format("supported: {}; other text can be tokenised elsewhere and given as .bin",
                          supported));
}

Error malformed_part(std::string_view origin, std::string_view part, std::string_view why) {
  return Error(Errc::bad_input, "read a tokenizer")
      .on(fmt::format("{}, \"{}\"", origin, part))
      .because(why)
      .remedy("fetch the tokenizer again");
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

Result<std::string> literal_pattern(const Json& json, std::string_view origin,
                                    std::string_view part) {
  const auto pattern = json.find("pattern");
  if (pattern == json.end() || !pattern->is_object()) {
    return fail(malformed_part(origin, part, "Replace has no pattern"));
  }
  const auto text = pattern->find("String");
  if (text == pattern->end()) {
    return fail(unsupported_part(origin, part, "a Replace with " + pattern->dump(),
                                 "Replace with a String pattern"));
  }
  if (!text->is_string() || text->get_ref<const std::string&>().empty()) {
    return fail(malformed_part(origin, part, "the pattern of Replace is not a text or is empty"));
  }
  return text->get<std::string>();
}

Result<void> Normalizer::add(const Json& json, std::string_view origin, std::vector<Step>& steps) {
  constexpr const char* part = "normalizer";
  if (json.is_null()) return {};
  if (!json.is_object() || !json.contains("type") || !json["type"].is_string()) {
    return fail(malformed_part(origin, part, "it has no type"));
  }
  const std::string type = json["type"].get<std::string>();
  const auto text = [&](const char* key) {
    const auto at = json.find(key);
    return at != json.end() && at->is_string() ? at->get<std::string>() : std::string();
  };
  if (type == "Sequence") {
    const auto list = json.find("normalizers");
    if (list == json.end() || !list->is_array()) {
      return fail(malformed_part(origin, part, "Sequence has no normalizers"));
    }
    for (const Json& inner : *list) {
      if (inner.is_object() && inner.contains("type") && inner["type"] == "Sequence") {
        return fail(unsupported_part(origin, part, "a Sequence in a Sequence", "one Sequence"));
      }
      FATHOM_CHECK(add(inner, origin, steps));
    }
    return {};
  }
  if (type == "Prepend") {
    steps.push_back({"", text("prepend")});
    return {};
  }
  if (type == "Replace") {
    FATHOM_ASSIGN(std::string pattern, literal_pattern(json, origin, part));
    steps.push_back({std::move(pattern), text("content")});
    return {};
  }
  return fail(unsupported_part(origin, part, "\"" + type + "\"", "Prepend, Replace, Sequence"));
}

Result<Normalizer> Normalizer::from_json(const Json& json, std::string_view origin) {
  Normalizer normalizer;
  FATHOM_CHECK(add(json, origin, normalizer.steps_));
  return normalizer;
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) {
    if (!step.pattern.empty()) {
      out = replace_all(out, step.pattern, step.content);
    } else if (!out.empty()) {
      out.insert(0, step.content);
    }
  }
  return out;
}

Result<Metaspace> Metaspace::from_json(const Json& json, std::string_view origin) {
  constexpr const char* part = "pre_tokenizer";
  Metaspace metaspace;
  if (json.is_null()) return metaspace;
  if (!json.is_object() || !json.contains("type") || !json["type"].is_string()) {
    return fail(malformed_part(origin, part, "it has no type"));
  }
  if (json["type"] != "Metaspace") {
    return fail(unsupported_part(origin, part, json["type"].dump(), "null, Metaspace"));
  }
  metaspace.active_ = true;
  const auto mark = json.find("replacement");
  if (mark == json.end() || !mark->is_string() || mark->get_ref<const std::string&>().empty()) {
    return fail(malformed_part(origin, part, "Metaspace has no replacement"));
  }
  metaspace.mark_ = mark->get<std::string>();
  if (const auto split = json.find("split"); split != json.end() && split->is_boolean()) {
    metaspace.split_ = split->get<bool>();
  }
  // Older files say add_prefix_space, newer ones prepend_scheme.
  if (const auto add = json.find("add_prefix_space"); add != json.end() && *add == false) {
    metaspace.prepend_ = Prepend::never;
  }
  if (const auto scheme = json.find("prepend_scheme"); scheme != json.end()) {
    if (*scheme == "always") {
      metaspace.prepend_ = Prepend::always;
    } else if (*scheme == "first") {
      metaspace.prepend_ = Prepend::first;
    } else if (*scheme == "never") {
      metaspace.prepend_ = Prepend::never;
    } else {
      return fail(malformed_part(origin, part, "prepend_scheme is none of always, first, never"));
    }
  }
  return metaspace;
}

std::string Metaspace::apply(std::string_view text, bool first) const {
  std::string out = replace_all(text, " ", mark_);
  const bool prepend = prepend_ == Prepend::always || (prepend_ == Prepend::first && first);
  if (prepend && !out.empty() && !out.starts_with(mark_)) out.insert(0, mark_);
  return out;
}

}  // namespace fathom::models
