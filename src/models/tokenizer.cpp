// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer.hpp"

#include <algorithm>
#include <utility>

#include "base/units.hpp"
#include "models/byte_level.hpp"
#include "models/tokenizer_state.hpp"
#include "models/utf8.hpp"

namespace fathom::models {

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::bytes() { return Tokenizer(std::make_unique<State>()); }

bool Tokenizer::is_bytes() const { return !state_->model && !state_->sentencepiece; }

std::uint64_t Tokenizer::vocabulary() const { return is_bytes() ? 256 : state_->pieces.size(); }

void Tokenizer::encode_pieces(std::string_view text,
                              const std::function<void(std::span<const TokenId>)>& sink) const {
  std::vector<TokenId> ids;
  if (is_bytes()) {
    for (std::size_t at = 0; at < text.size(); at += MiB) {
      ids.clear();
      for (const char c : text.substr(at, MiB)) ids.push_back(static_cast<unsigned char>(c));
      sink(ids);
    }
    return;
  }
  const bool valid = is_valid_utf8(text);
  const std::string repaired = valid ? std::string() : valid_utf8(text);
  for (const AddedTokens::Piece& piece :
       state_->raw.split(valid ? text : std::string_view(repaired))) {
    if (piece.token != nullptr) {
      sink(std::span(&piece.token->id, 1));
    } else if (state_->sentencepiece) {
      ids.clear();
      state_->sentencepiece->encode(piece.text, ids);
      sink(ids);
    } else {
      state_->encode_segment(piece.text, piece.offset == 0, sink);
    }
  }
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<TokenId> ids;
  if (add_special) ids = state_->around.prefix;
  encode_pieces(text, [&](std::span<const TokenId> more) {
    ids.insert(ids.end(), more.begin(), more.end());
  });
  if (add_special)
    ids.insert(ids.end(), state_->around.suffix.begin(), state_->around.suffix.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string text;
  if (is_bytes()) {
    for (const TokenId id : ids)
      if (id < 256) text += static_cast<char>(id);
    return valid_utf8(text);
  }
  std::vector<std::string> texts;
  std::vector<TokenId> run;  // of ordinary tokens, for libsentencepiece
  const auto flush = [&] {
    text += state_->sentencepiece->decode(run);
    run.clear();
  };
  for (const TokenId id : ids) {
    if (id >= state_->pieces.size() || !state_->pieces[id].known) continue;
    const State::Piece& piece = state_->pieces[id];
    if (skip_special && piece.special) continue;
    if (!state_->sentencepiece) {
      texts.push_back(piece.text);
    } else if (!piece.special) {
      run.push_back(id);
    } else {
      flush();
      text += piece.text;
    }
  }
  if (!state_->sentencepiece) return state_->decoder.apply(std::move(texts));
  flush();
  return text;
}

bool Tokenizer::ends_inside_character(std::span<const TokenId> ids) const {
  // Only the last three bytes can be the beginning of a character.
  std::string tail;
  for (std::size_t i = ids.size(); i-- > 0 && tail.size() < 3;) {
    if (is_bytes()) {
      if (ids[i] < 256) tail.insert(0, 1, static_cast<char>(ids[i]));
      continue;
    }
    if (ids[i] >= state_->pieces.size()) continue;
    const std::string& piece = state_->pieces[ids[i]].text;
    if (const int byte = fallback_byte(piece); byte >= 0) {
      tail.insert(0, 1, static_cast<char>(byte));
    } else if (state_->decoder.spells_bytes()) {
      tail.insert(0, from_byte_level(piece));
    } else {
      break;
    }
  }
  for (std::size_t length = 1; length <= std::min<std::size_t>(3, tail.size()); ++length) {
    const std::size_t at = tail.size() - length;
    if (is_utf8_continuation(tail[at])) continue;
    const Utf8Unit unit = utf8_unit(tail, at);
    const auto lead = static_cast<unsigned char>(tail[at]);
    return !unit.valid && unit.length == length && lead >= 0xC2 && lead <= 0xF4;
  }
  return false;
}

}  // namespace fathom::models
