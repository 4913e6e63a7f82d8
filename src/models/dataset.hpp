// SPDX-License-Identifier: Apache-2.0
//
// Dataset: training and evaluation tokens as disjoint windows of sequence_length + 1.
//
// Purpose      Reads --data: UTF-8 text, .jsonl with "text", .bin of token ids, or a directory of
// such
//              files in the order of their names. Nothing is added: no BOS, EOS or template. Window
//              k is tokens [k(L+1), (k+1)(L+1)); the incomplete tail is dropped; indices beyond the
//              last window wrap around.
// Ownership    Owns the tokens, 2 bytes each when the vocabulary has at most 65,536 ids, else 4.
// Threads      Immutable once open.
//
//   FATHOM_ASSIGN(const Dataset data, Dataset::open(path, tokenizer, {.sequence_length = 512,
//                                                                    .vocabulary =
//                                                                    spec.vocabulary}));
//   data.window(step * batch + row, ids);
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "models/tokenizer.hpp"

namespace fathom::models {

struct DatasetOptions {
  std::uint64_t sequence_length = 0;
  std::uint64_t vocabulary = 0;  // of the model: ids must be below
  bool shuffle = false;          // permute the windows anew in each pass
  std::uint64_t seed = 0;        // of the permutation
  bool wide = false;             // .bin holds uint32 instead of uint16, little-endian
};

class Dataset {
 public:
  // Errors: not_found; bad_input for an empty or malformed file, for less than one window, and for
  // an id that the model does not have (names it and its position).
  static Result<Dataset> open(const std::filesystem::path& path, const Tokenizer& tokenizer,
                              const DatasetOptions& options);

  std::uint64_t windows() const { return windows_; }
  std::uint64_t tokens() const;
  std::uint64_t dropped_tokens() const;  // the tail that fills no window
  std::uint64_t memory_bytes() const;

  // sequence_length + 1 ids of window `index` of the endless sequence of passes.
  void window(std::uint64_t index, std::span<std::int64_t> out) const;

 private:
  Dataset() = default;
  Result<void> add(const std::filesystem::path& file, const Tokenizer& tokenizer);
  Result<void> add_text(const std::filesystem::path& file, const Tokenizer& tokenizer);
  Result<void> add_jsonl(const std::filesystem::path& file, const Tokenizer& tokenizer);
  Result<void> add_bin(const std::filesystem::path& file);
  Result<void> append(std::span<const TokenId> ids, std::uint64_t position,
                      const std::filesystem::path& file);

  DatasetOptions options_;
  std::variant<std::vector<std::uint16_t>, std::vector<std::uint32_t>> ids_;
  std::uint64_t windows_ = 0;
};

// The file, or the regular files of the directory in the order of their names.
Result<std::vector<std::filesystem::path>> data_files(const std::filesystem::path& path);

// A permutation of 0 … count − 1 that depends on (seed, pass) alone and needs no memory.
std::uint64_t permuted(std::uint64_t index, std::uint64_t count, std::uint64_t seed,
                       std::uint64_t pass);

}  // namespace fathom::models
