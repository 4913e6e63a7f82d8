// SPDX-License-Identifier: Apache-2.0
//
// PairDataset: what an encoder-decoder model learns from: {"input": …, "target": …} per line.
//
// Purpose      Reads .jsonl files (a directory: in the order of their names). Both texts are
//              tokenised with the model's special tokens and cut to source_length and
//              target_length; shorter ones are padded on the right. Labels beyond the target are
//              ignored; the decoder reads the labels moved right by one behind the start token.
// Ownership    Owns the tokens.
// Threads      Immutable once open.
//
//   data.record(step * batch + row, {ids, mask, decoder_ids, labels});
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "models/pass_order.hpp"
#include "models/spec.hpp"
#include "models/tokenizer.hpp"

namespace fathom::models {

struct PairOptions {
  std::uint64_t source_length = 0, target_length = 0;
  bool shuffle = false;     // permute the records anew in each pass
  std::uint64_t seed = 0;   // of the permutation
  std::uint64_t batch = 0;  // rows of a step, when an incomplete one is left out of each pass
};

// One row of a batch, to be filled: source_length ids and mask, target_length of the others.
struct PairRow {
  std::span<std::int64_t> input_ids, attention_mask, decoder_input_ids, labels;
};

class PairDataset {
 public:
  // Errors: not_found; bad_input for a file that is not .jsonl, an empty one, a line without the
  // two texts, an id that the model does not have.
  static Result<PairDataset> open(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                  const ModelSpec& spec, const PairOptions& options);

  std::uint64_t records() const { return order_.per_pass(); }  // of a pass
  std::uint64_t dropped_tokens() const { return dropped_; }    // beyond the lengths
  std::uint64_t memory_bytes() const;

  // Record `index` of the endless sequence of passes.
  void record(std::uint64_t index, const PairRow& row) const;

 private:
  struct End {
    std::uint64_t input = 0, target = 0;  // in ids_; a record begins where the one before ends
  };
  Result<void> add(const std::filesystem::path& file, const Tokenizer& tokenizer,
                   std::uint64_t vocabulary);
  Result<void> append(const std::string& text, std::uint64_t limit, const Tokenizer& tokenizer,
                      std::uint64_t vocabulary, const std::string& origin);

  PairOptions options_;
  PassOrder order_;
  std::int64_t padding_ = 0, start_ = 0;
  std::vector<TokenId> ids_;
  std::vector<End> ends_;
  std::uint64_t dropped_ = 0;
};

}  // namespace fathom::models
