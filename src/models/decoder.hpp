// SPDX-License-Identifier: Apache-2.0
//
// Decoder: the "decoder" part of tokenizer.json: pieces → text. Internal to the tokenizer.
//
// Purpose      ByteLevel, Metaspace, ByteFallback, Fuse, Strip, Replace, BPEDecoder and Sequence;
//              null joins pieces with spaces, as the reference library does. Others are refused by
//              name.
// Threads      Immutable once built.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"

namespace fathom::models {

class Decoder {
 public:
  static Result<Decoder> from_json(const nlohmann::json& json, std::string_view origin);

  std::string apply(std::vector<std::string> pieces) const;
  bool spells_bytes() const { return byte_level_; }  // pieces are bytes, not characters

 private:
  using Pieces = std::vector<std::string>;
  using Step = std::function<void(Pieces&)>;
  static Result<Step> make_step(std::string_view type, const nlohmann::json& json,
                                std::string_view origin);

  std::vector<Step> steps_;
  bool join_with_spaces_ = false, byte_level_ = false;
};

// 0 … 255 for a piece like "<0x0A>", -1 for any other.
int fallback_byte(std::string_view piece);

}  // namespace fathom::models
