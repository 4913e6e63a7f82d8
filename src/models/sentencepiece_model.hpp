// SPDX-License-Identifier: Apache-2.0
//
// SentencePieceModel: a tokenizer.model (spiece.model), read and run by libsentencepiece. Internal
// to the tokenizer.
//
// Purpose      For directories without tokenizer.json. Control tokens in a text (<s>, </s>, T5's
//              <extra_id_0> …) are cut out before, as Hugging Face's tokenizers do.
// Threads      Immutable once loaded.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "models/token_id.hpp"

namespace fathom::models {

class SentencePieceModel {
 public:
  // Errors: bad_input, not_found.
  static Result<std::unique_ptr<SentencePieceModel>> load(const std::filesystem::path& file);
  ~SentencePieceModel();
  SentencePieceModel(const SentencePieceModel&) = delete;
  SentencePieceModel& operator=(const SentencePieceModel&) = delete;

  struct Piece {
    std::string text;
    bool control = false;  // stands for no text: <s>, </s>, <pad>, <unk>
  };
  std::vector<Piece> pieces() const;  // by id
  std::optional<TokenId> begin_id() const, end_id() const;

  void encode(std::string_view text, std::vector<TokenId>& out) const;
  // Ids are those of pieces().
  std::string decode(std::span<const TokenId> ids) const;

 private:
  struct Library;
  explicit SentencePieceModel(std::unique_ptr<Library> library);
  std::unique_ptr<Library> library_;
};

}  // namespace fathom::models
