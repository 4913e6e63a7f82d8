// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer_state.hpp"

#include <cstdint>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/tokenizer_part.hpp"
#include "models/vocabulary.hpp"

namespace fathom::models {

using Json = nlohmann::json;

void Tokenizer::State::set_piece(TokenId id, std::string text, bool special) {
  if (id >= pieces.size()) pieces.resize(std::size_t{id} + 1);
  pieces[id] = {std::move(text), true, special};
}

Result<void> Tokenizer::State::read_pieces(std::string_view origin) {
  Result<void> status;
  model->each_piece([&](std::string_view piece, TokenId id) {
    if (id < pieces.size() && pieces[id].known && status) {
      status = fail(malformed_part(
          {origin, "model"},
          fmt::format("\"{}\" and \"{}\" have the same id {}", piece, pieces[id].text, id)));
    }
    set_piece(id, std::string(piece), false);
  });
  return status;
}

void Tokenizer::State::add_token(AddedToken token) {
  set_piece(token.id, token.content, token.special);
  if (token.normalized) {
    token.content = normalizer.apply(token.content);
    normalized.add(std::move(token));
  } else {
    raw.add(std::move(token));
  }
}

Result<void> Tokenizer::State::read_added(const Json& json, std::string_view origin) {
  constexpr const char* part = "added_tokens";
  if (json.is_null()) return {};
  if (!json.is_array()) return fail(malformed_part({origin, part}, "it is not a list"));
  for (const Json& entry : json) {
    if (!entry.is_object() || !entry.contains("content") || !entry["content"].is_string() ||
        !entry.contains("id") || !entry["id"].is_number_unsigned() ||
        entry["id"].get<std::uint64_t>() >= token_id_limit)
      return fail(malformed_part({origin, part}, entry.dump() + " has no content or no id"));
    const std::string content = part_text(entry, "content");
    if (content.empty()) continue;
    // A token that the model has as a piece is that piece.
    const TokenId id = model->find(content).value_or(entry["id"].get<TokenId>());
    const bool special = part_flag(entry, "special", false);
    add_token({.content = content,
               .id = id,
               .special = special,
               .left_strip = part_flag(entry, "lstrip", false),
               .right_strip = part_flag(entry, "rstrip", false),
               .normalized = part_flag(entry, "normalized", !special),
               .single_word = part_flag(entry, "single_word", false)});
  }
  return {};
}

void Tokenizer::State::encode_segment(std::string_view text, bool first, const Sink& sink) const {
  std::vector<TokenId> ids;
  constexpr std::size_t many = 1 << 16;
  const auto flush = [&] {
    sink(ids);
    ids.clear();
  };
  const std::string normal = normalizer.apply(text);
  for (const AddedTokens::Piece& piece : normalized.split(normal)) {
    if (piece.token != nullptr) {
      ids.push_back(piece.token->id);
      continue;
    }
    pre_tokenizer.words(piece.text, first && piece.offset == 0, [&](std::string_view word) {
      model->encode(word, ids);
      if (ids.size() > many) flush();
    });
  }
  flush();
}

}  // namespace fathom::models
