// SPDX-License-Identifier: Apache-2.0
//
// Decoder: the "decoder" part of tokenizer.json: pieces → text. Internal to the tokenizer.
//
// Purpose      Replace, ByteFallback, Fuse, Strip, Metaspace and Sequence; null joins pieces with
//              spaces, as the reference library does. Others are refused by name.
// Threads      Immutable once built.
#pragma once

#include <cstddef>
#include <cstdint>
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

 private:
  enum class Kind : std::uint8_t { replace, byte_fallback, fuse, strip, metaspace };
  struct Step {
    Kind kind;
    std::string pattern, content;
    std::size_t start = 0, stop = 0;  // Strip: at most so many at each end of a piece
    bool drop_first = false;          // Metaspace: no mark in the first piece
  };
  static Result<Step> make_step(std::string_view type, const nlohmann::json& json,
                                std::string_view origin);

  std::vector<Step> steps_;
  bool join_with_spaces_ = false;
};

// 0 … 255 for a piece like "<0x0A>", -1 for any other.
int fallback_byte(std::string_view piece);

}  // namespace fathom::models
