// SPDX-License-Identifier: Apache-2.0
//
// Bpe: byte-pair encoding with byte fallback. Internal to the tokenizer.
//
// Purpose      Merges the pair of lowest rank first, the leftmost among equals, as the reference
//              library does, in O(n log n): a heap of candidate pairs over a linked list of
//              symbols. Where no merge can ever join two neighbouring bytes, the text is cut first,
//              which changes nothing in the result and keeps the heaps small.
// Threads      Immutable once built.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"
#include "models/token_model.hpp"
#include "models/vocabulary.hpp"

namespace fathom::models {

class Bpe final : public TokenModel {
 public:
  static Result<std::unique_ptr<Bpe>> from_json(const nlohmann::json& json,
                                                std::string_view origin);

  // A character that is neither in the vocabulary nor covered by byte fallback becomes the unknown
  // token, or nothing without one.
  void encode(std::string_view text, std::vector<TokenId>& out) const override;
  std::optional<TokenId> find(std::string_view piece) const override { return ids_.find(piece); }
  void each_piece(const std::function<void(std::string_view, TokenId)>& each) const override {
    ids_.each(each);
  }

 private:
  struct Merge {
    std::uint32_t rank;
    TokenId id;
  };
  struct Symbol {
    TokenId id;
    std::int32_t previous, next;  // -1 at the ends
    bool alive;
  };
  struct Candidate {
    std::uint32_t rank;
    std::int32_t at;
    TokenId left, right;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };
  struct PairHash {
    std::size_t operator()(std::uint64_t pair) const {
      pair *= 0x9E3779B97F4A7C15ULL;
      return static_cast<std::size_t>(pair ^ (pair >> 29));
    }
  };
  void find_byte_pieces();
  Result<void> read_merges(const nlohmann::json& json, std::string_view origin);
  void note_junctions(const std::string& left, const std::string& right);
  const Merge* merge_of(TokenId left, TokenId right) const;
  void to_symbols(std::string_view text, std::vector<Symbol>& symbols) const;
  void encode_segment(std::string_view text, Scratch& scratch, std::vector<TokenId>& out) const;

  Vocabulary ids_;
  std::unordered_map<std::uint64_t, Merge, PairHash> merges_;
  std::array<TokenId, 256> bytes_{};
  std::array<bool, 256> has_byte_{};
  std::optional<TokenId> unknown_;
  // junctions_[a * 256 + b]: some merge joins a symbol that ends in byte a to one that begins with
  // b.
  std::bitset<65536> junctions_;
  bool byte_fallback_ = false, fuse_unknown_ = false, ignore_merges_ = false, may_cut_ = false;
};

}  // namespace fathom::models
