// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "models/tokenizer.hpp"
#include "models/utf8.hpp"

namespace fathom::models {
namespace {

// Of the context only the end matters: enough for any character and one word in front of it.
constexpr std::size_t context_ids = 16;
// A character has at most four bytes; a longer run without one is text that will never be whole.
constexpr std::size_t longest_wait = 16;

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, std::span<const TokenId> context,
                             bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special) {
  const auto tail = context.last(std::min(context.size(), context_ids));
  window_.assign(tail.begin(), tail.end());
  shown_ = window_.size();
}

std::string StreamDecoder::emit(const std::string& all, std::string_view known) {
  // The known text is a prefix of the whole except where an incomplete character was completed.
  const auto differ = std::ranges::mismatch(all, known);
  auto from = static_cast<std::size_t>(differ.in1 - all.begin());
  while (from > 0 && from < all.size() && is_utf8_continuation(all[from])) --from;
  return all.substr(from);
}

std::string StreamDecoder::push(TokenId id) {
  window_.push_back(id);
  const std::string known = tokenizer_.decode(std::span(window_).first(shown_), skip_special_);
  const std::string all = tokenizer_.decode(window_, skip_special_);
  const bool waiting =
      tokenizer_.ends_inside_character(window_) && window_.size() - shown_ < longest_wait;
  if (all.size() <= known.size() || waiting) return {};
  std::string text = emit(all, known);
  // What was just shown is the context of what comes next.
  window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(shown_));
  shown_ = window_.size();
  return text;
}

std::string StreamDecoder::finish() {
  const std::string known = tokenizer_.decode(std::span(window_).first(shown_), skip_special_);
  const std::string all = tokenizer_.decode(window_, skip_special_);
  shown_ = window_.size();
  return all.size() > known.size() ? emit(all, known) : std::string();
}

}  // namespace fathom::models
