// SPDX-License-Identifier: Apache-2.0
//
// Tokenizer: text ↔ token ids, from a Hugging Face tokenizer.json, or bytes when there is none.
//
// Purpose      tokenizer.json: BPE (byte-level and SentencePiece-style), Unigram and WordLevel,
//              with the same ids as the `tokenizers` library; kinds and steps that are not computed
//              here are refused by name, never approximated. Without it, tokenizer.model or
//              spiece.model through libsentencepiece; without either the ids are the text's bytes.
// Text         UTF-8. Ill-formed sequences become U+FFFD first, as Python's errors="replace" does
//              (the byte tokenizer keeps them); decoded text is always well-formed.
// Ownership    Movable; owns its tables.
// Threads      Immutable once loaded.
//
//   FATHOM_ASSIGN(const Tokenizer tokenizer, Tokenizer::load("/models/llama"));
//   std::vector<TokenId> ids = tokenizer.encode("Once upon a time", true);
//   std::string text = tokenizer.decode(ids, true);
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "models/token_id.hpp"

namespace fathom::models {

class Tokenizer {
 public:
  // `path`: a model directory, a tokenizer.json or .model file, or a preset's config file (byte
  // tokenizer). Truncation and padding that the file names are not applied.
  static Result<Tokenizer> load(const std::filesystem::path& path);
  // `origin` names the text in Errors.
  static Result<Tokenizer> parse(std::string_view json, std::string_view origin);
  static Tokenizer bytes();

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // `add_special` applies the template (for Llama: <s> in front).
  std::vector<TokenId> encode(std::string_view text, bool add_special) const;

  // For long texts: gives the ids of encode(text, false) piece by piece, in order.
  void encode_pieces(std::string_view text,
                     const std::function<void(std::span<const TokenId>)>& sink) const;

  // Ids without a piece are left out; `skip_special` leaves out special tokens.
  std::string decode(std::span<const TokenId> ids, bool skip_special) const;

  // Whether the last of these tokens leave a character incomplete that further ones may complete.
  bool ends_inside_character(std::span<const TokenId> ids) const;

  // One more than the largest id.
  std::uint64_t vocabulary() const;
  bool is_bytes() const;

 private:
  struct State;
  static Result<Tokenizer> from_sentencepiece(const std::filesystem::path& file);
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Decodes tokens as they are generated: a character that needs several tokens appears with its
// last.
//
//   StreamDecoder stream(tokenizer, prompt_ids);
//   print(stream.push(id)); …  print(stream.finish());
class StreamDecoder {
 public:
  // `context`: the ids in front of the first pushed one; they decide about a leading space.
  StreamDecoder(const Tokenizer& tokenizer, std::span<const TokenId> context,
                bool skip_special = true);

  std::string push(TokenId id);  // the text that has become certain, often empty
  std::string finish();          // the rest

 private:
  std::string emit(const std::string& all, std::string_view known);

  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::vector<TokenId> window_;  // context, then ids that are not shown yet
  std::size_t shown_;            // leading ids of window_ whose text has been given
};

}  // namespace fathom::models
