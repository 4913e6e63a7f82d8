// SPDX-License-Identifier: Apache-2.0
//
// Normalizer: the "normalizer" part of tokenizer.json: text → text. Internal to the tokenizer.
//
// Purpose      NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, Nmt,
//              Precompiled, BertNormalizer, ByteLevel and Sequence. Others are refused by name.
// Threads      Immutable once built.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"

namespace fathom::models {

class Normalizer {
 public:
  // `json` is the value of "normalizer", null included.
  static Result<Normalizer> from_json(const nlohmann::json& json, std::string_view origin);

  std::string apply(std::string_view text) const;

 private:
  using Step = std::function<std::string(std::string_view)>;
  static Result<Step> make_step(std::string_view type, const nlohmann::json& json,
                                std::string_view origin);

  std::vector<Step> steps_;
};

}  // namespace fathom::models
