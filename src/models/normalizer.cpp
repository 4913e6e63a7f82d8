// SPDX-License-Identifier: Apache-2.0
#include "models/normalizer.hpp"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/tokenizer_part.hpp"

namespace fathom::models {

using Json = nlohmann::json;

Result<Normalizer> Normalizer::from_json(const Json& json, std::string_view origin) {
  const PartPlace place{origin, "normalizer"};
  Normalizer normalizer;
  if (json.is_null()) return normalizer;
  FATHOM_ASSIGN(const auto steps, part_steps(json, "normalizers", place));
  for (const auto& [type, step] : steps) {
    std::string pattern;
    if (type == "Replace") {
      FATHOM_ASSIGN(pattern, literal_pattern(*step, place));
    } else if (type != "Prepend") {
      return fail(
          unsupported_part(place, fmt::format("\"{}\"", type), "Prepend, Replace, Sequence"));
    }
    normalizer.steps_.push_back(
        {std::move(pattern), part_text(*step, type == "Prepend" ? "prepend" : "content")});
  }
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
  const PartPlace place{origin, "pre_tokenizer"};
  Metaspace metaspace;
  if (json.is_null()) return metaspace;
  FATHOM_ASSIGN(const std::string_view type, part_type(json, place));
  if (type != "Metaspace")
    return fail(unsupported_part(place, fmt::format("\"{}\"", type), "null, Metaspace"));
  metaspace.active_ = true;
  metaspace.mark_ = part_text(json, "replacement");
  if (metaspace.mark_.empty()) return fail(malformed_part(place, "Metaspace has no replacement"));
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
      return fail(malformed_part(place, "prepend_scheme is none of always, first, never"));
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
