// SPDX-License-Identifier: Apache-2.0
#include "models/added_tokens.hpp"

#include <algorithm>
#include <utility>

#include "models/utf8.hpp"

namespace fathom::models {
namespace {

// White_Space of Unicode; `at` is the first byte of a character. 0 when it is none.
std::size_t space_length(std::string_view text, std::size_t at) {
  const auto c = static_cast<unsigned char>(text[at]);
  if (c == ' ' || (c >= 0x09 && c <= 0x0D)) return 1;
  static constexpr std::array<std::string_view, 19> wide = {
      "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
      "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
      "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
      "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
  for (const std::string_view space : wide) {
    if (text.substr(at).starts_with(space)) return space.size();
  }
  return 0;
}

std::size_t skip_spaces(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const std::size_t length = space_length(text, at);
    if (length == 0) break;
    at += length;
  }
  return at;
}

std::size_t skip_spaces_back(std::string_view text, std::size_t floor, std::size_t at) {
  while (at > floor) {
    std::size_t start = at - 1;
    while (start > floor && is_utf8_continuation(text[start])) --start;
    if (space_length(text, start) != at - start) break;
    at = start;
  }
  return at;
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
  std::size_t begin = 0;
  const auto flush = [&](std::size_t end) {
    if (end > begin) pieces.push_back({text.substr(begin, end - begin), nullptr, begin});
  };
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* token = match(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t end = at + token->content.size();
    flush(token->left_strip ? skip_spaces_back(text, begin, at) : at);
    if (token->right_strip) end = skip_spaces(text, end);
    pieces.push_back({{}, token, at});
    begin = at = end;
  }
  flush(text.size());
  return pieces;
}

}  // namespace fathom::models
