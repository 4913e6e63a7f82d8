// SPDX-License-Identifier: Apache-2.0
#include "models/added_tokens.hpp"

#include <algorithm>
#include <utility>

#include "models/unicode.hpp"
#include "models/utf8.hpp"

namespace fathom::models {
namespace {

// The character that ends at `end`, which is not the beginning.
std::string_view last_character(std::string_view text, std::size_t end) {
  std::size_t begin = end - 1;
  while (begin > 0 && is_utf8_continuation(text[begin])) --begin;
  return text.substr(begin, end - begin);
}

std::size_t skip_spaces(std::string_view text, std::size_t at) {
  while (at < text.size() && is_white_space(first_character(text.substr(at))))
    at += utf8_unit(text, at).length;
  return at;
}

std::size_t skip_spaces_back(std::string_view text, std::size_t at) {
  while (at > 0) {
    const std::string_view character = last_character(text, at);
    if (!is_white_space(first_character(character))) break;
    at -= character.size();
  }
  return at;
}

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  const bool word_before = begin > 0 && is_word(first_character(last_character(text, begin)));
  const bool word_behind = end < text.size() && is_word(first_character(text.substr(end)));
  return !word_before && !word_behind;
}

}  // namespace

void AddedTokens::add(AddedToken token) {
  if (token.content.empty()) return;
  auto& bucket = by_first_byte_[static_cast<unsigned char>(token.content.front())];
  const auto place = std::ranges::find_if(bucket, [&](std::size_t other) {
    return tokens_[other].content.size() < token.content.size();
  });
  bucket.insert(place, tokens_.size());
  tokens_.push_back(std::move(token));
}

const AddedToken* AddedTokens::match(std::string_view text, std::size_t at) const {
  for (const std::size_t index : by_first_byte_[static_cast<unsigned char>(text[at])]) {
    if (text.substr(at).starts_with(tokens_[index].content)) return &tokens_[index];
  }
  return nullptr;
}

std::vector<AddedTokens::Piece> AddedTokens::split(std::string_view text) const {
  std::vector<Piece> pieces;
  std::size_t done = 0;  // the text up to here has been given
  const auto give = [&](std::size_t end) {
    if (end > done) pieces.push_back({text.substr(done, end - done), nullptr, done});
  };
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* token = match(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at + token->content.size();
    at = end;  // a token that does not count hides those inside it, too
    if (token->single_word && !stands_alone(text, begin, end)) continue;
    if (token->left_strip) begin = std::max(done, skip_spaces_back(text, begin));
    if (token->right_strip) end = skip_spaces(text, end);
    give(begin);
    pieces.push_back({{}, token, begin});
    done = end;
  }
  give(text.size());
  return pieces;
}

}  // namespace fathom::models
