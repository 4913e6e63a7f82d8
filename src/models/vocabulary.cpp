// SPDX-License-Identifier: Apache-2.0
#include "models/vocabulary.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/tokenizer_part.hpp"

namespace fathom::models {
namespace {
constexpr const char* part = "model";
}

Result<Vocabulary> Vocabulary::from_json(const nlohmann::json& model, std::string_view origin) {
  const auto vocab = model.find("vocab");
  if (vocab == model.end() || !vocab->is_object())
    return fail(malformed_part({origin, part}, "it has no vocab"));
  Vocabulary made;
  made.ids_.reserve(vocab->size());
  for (const auto& [piece, id] : vocab->items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= token_id_limit)
      return fail(malformed_part(
          {origin, part}, fmt::format("the id {} of \"{}\" is not a token id", id.dump(), piece)));
    made.ids_.emplace(piece, id.get<TokenId>());
  }
  return made;
}

Result<std::optional<TokenId>> Vocabulary::unknown(const nlohmann::json& model,
                                                   std::string_view origin) const {
  const auto token = model.find("unk_token");
  if (token == model.end() || !token->is_string()) return std::optional<TokenId>();
  const auto id = find(token->get_ref<const std::string&>());
  if (!id)
    return fail(
        malformed_part({origin, part}, fmt::format("unk_token {} is not in vocab", token->dump())));
  return id;
}

}  // namespace fathom::models
