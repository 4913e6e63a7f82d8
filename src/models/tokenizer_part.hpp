// SPDX-License-Identifier: Apache-2.0
//
// TokenizerPart: what the parts of tokenizer.json have in common. Internal to the tokenizer.
//
// Purpose      A part ("normalizer", "decoder") is a typed object or a Sequence of them, and
//              refuses what it does not know by name. Those rules stand here once.
// Threads      Stateless.
//
//   FATHOM_ASSIGN(const auto steps, part_steps(json, "decoders", {origin, "decoder"}));
//   for (const auto& [type, step] : steps) …
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"

namespace fathom::models {

// Where a part stands: the file and the part's key. Errors begin with it.
struct PartPlace {
  std::string_view origin, part;
};

struct PartStep {  // both point into the part
  std::string_view type;
  const nlohmann::json* json;
};

// The type of a part or step, as it stands in `json`. Errors: bad_input when it has none.
Result<std::string_view> part_type(const nlohmann::json& json, PartPlace place);

// The steps of a part: those under `list_key` of a Sequence (of Sequences), else the part itself.
// `json` must outlive them. Errors: bad_input for a step without type or nesting without end.
Result<std::vector<PartStep>> part_steps(const nlohmann::json& json, const char* list_key,
                                         PartPlace place);

// The text under `key`; empty when there is none.
std::string part_text(const nlohmann::json& json, const char* key);

// The truth under `key`; `fallback` when there is none.
bool part_flag(const nlohmann::json& json, const char* key, bool fallback);

Error unsupported_part(PartPlace place, std::string_view found, std::string_view supported);
Error malformed_part(PartPlace place, std::string_view why);

}  // namespace fathom::models
