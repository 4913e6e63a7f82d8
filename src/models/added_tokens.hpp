// SPDX-License-Identifier: Apache-2.0
//
// AddedTokens: pieces that are cut out of a text before anything else, such as <s>. Internal to the
// tokenizer.
//
// Purpose      Finds the longest added token at the leftmost place; lstrip and rstrip swallow the
//              white space beside it, single_word wants no word character there.
// Threads      Immutable once built.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::models {

struct AddedToken {
  std::string content;
  std::uint32_t id = 0;
  bool special = false, left_strip = false, right_strip = false, normalized = false,
       single_word = false;
};

class AddedTokens {
 public:
  void add(AddedToken token);
  bool empty() const { return tokens_.empty(); }

  struct Piece {
    std::string_view text;  // when it is no token
    const AddedToken* token = nullptr;
    std::size_t offset = 0;  // of the piece in the text
  };
  // The text in order: tokens and what lies between them; empty pieces are left out.
  std::vector<Piece> split(std::string_view text) const;

 private:
  const AddedToken* match(std::string_view text, std::size_t at) const;

  std::vector<AddedToken> tokens_;
  std::array<std::vector<std::size_t>, 256> by_first_byte_;  // longest first
};

}  // namespace fathom::models
