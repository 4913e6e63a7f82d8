// SPDX-License-Identifier: Apache-2.0
//
// Charsmap: the normalisation table that SentencePiece compiles into its models ("Precompiled").
// Internal to the tokenizer.
//
// Format       Little-endian: uint32 bytes of the trie; the trie, uint32 units of a double array;
//              replacement texts, each ended by a zero byte. A unit has its label in bits 0–7, a
//              leaf mark in bit 8 and the offset of its children above; a leaf's value is an offset
//              into the texts.
// Threads      Immutable once built.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "models/tokenizer_part.hpp"

namespace fathom::models {

class Charsmap {
 public:
  // Errors: bad_input.
  static Result<Charsmap> from_base64(std::string_view text, PartPlace place);

  std::string apply(std::string_view text) const;

 private:
  std::optional<std::string_view> replacement(std::string_view text) const;

  std::vector<std::uint32_t> units_;
  std::string texts_;
};

}  // namespace fathom::models
