// SPDX-License-Identifier: Apache-2.0
//
// Vocabulary: pieces and their ids. Internal to the tokenizer.
//
// Threads      Immutable once filled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"
#include "models/token_id.hpp"

namespace fathom::models {

// Ids are below this; a larger one is damage, not a vocabulary.
inline constexpr std::uint64_t token_id_limit = 1U << 26;

class Vocabulary {
 public:
  // Reads the object "vocab" of a model. Errors: bad_input.
  static Result<Vocabulary> from_json(const nlohmann::json& model, std::string_view origin);

  void add(std::string piece, TokenId id) { ids_.insert_or_assign(std::move(piece), id); }
  std::optional<TokenId> find(std::string_view piece) const {
    const auto at = ids_.find(piece);
    return at == ids_.end() ? std::nullopt : std::optional(at->second);
  }
  void each(const std::function<void(std::string_view, TokenId)>& each) const {
    for (const auto& [piece, id] : ids_) each(piece, id);
  }
  // The id of the model's "unk_token", if it has one. Errors: bad_input when it is not a piece.
  Result<std::optional<TokenId>> unknown(const nlohmann::json& model,
                                         std::string_view origin) const;

 private:
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  std::unordered_map<std::string, TokenId, TextHash, std::equal_to<>> ids_;
};

}  // namespace fathom::models
