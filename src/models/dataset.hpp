// SPDX-License-Identifier: Apache-2.0
//
// Dataset: training and evaluation tokens of decoder-only models as rows of sequence_length + 1.
//
// Purpose      Reads --data: UTF-8 text, .jsonl (record.hpp), .bin of token ids, or a directory of
//              such files in the order of their names. A file of text or ids and a record are
//              documents. How documents become rows:
//                join   one behind the other, nothing added; row k is tokens [k(L+1), (k+1)(L+1)),
//                       the incomplete tail is dropped
//                eos    the same, with an EOS behind each document
//                pad    a document has rows of its own, EOS at its end, padded on the right: text
//                       as many as it fills, a prompt with its completion one, cut at L+1
//              Automatic is pad when a record has tokens that are not learned, else join. Rows
//              without a token to learn are left out, and all that no row holds is counted.
// Ownership    Owns the tokens, 2 bytes each when the vocabulary has at most 65,536 ids, else 4;
//              one bit more each when some are not learned.
// Threads      Immutable once open.
//
//   FATHOM_ASSIGN(const Dataset data, Dataset::open(path, tokenizer, {.sequence_length = 512,
//                                                                    .vocabulary =
//                                                                    spec.vocabulary}));
//   data.row(step * batch + row, ids, targets);
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "models/pass_order.hpp"
#include "models/tokenizer.hpp"

namespace fathom::models {

struct Record;  // record.hpp

enum class Packing : std::uint8_t { automatic, join, eos, pad };

struct DatasetOptions {
  std::uint64_t sequence_length = 0;
  std::uint64_t vocabulary = 0;  // of the model: ids must be below
  bool shuffle = false;          // permute the rows anew in each pass
  std::uint64_t seed = 0;        // of the permutation
  bool wide = false;             // .bin holds uint32 instead of uint16, little-endian
  Packing packing = Packing::automatic;
  std::optional<std::int64_t> eos = {};  // the model's
  std::int64_t padding = 0;              // the id that fills rows up; it is never learned
  std::uint64_t batch = 0;  // rows of a step, when an incomplete one is left out of each pass
};

class Dataset {
 public:
  // Errors: not_found; bad_input for an empty or malformed file, for less than one window, and for
  // an id that the model does not have (names it and its position).
  static Result<Dataset> open(const std::filesystem::path& path, const Tokenizer& tokenizer,
                              const DatasetOptions& options);

  std::uint64_t windows() const { return order_.per_pass(); }  // rows of a pass
  std::uint64_t tokens() const;
  std::uint64_t dropped_tokens() const { return dropped_; }  // in no row, or in one without targets
  std::uint64_t memory_bytes() const;

  // sequence_length + 1 ids of row `index` of the endless sequence of passes, padding included.
  void window(std::uint64_t index, std::span<std::int64_t> out) const;
  // The same as inputs and what each should predict, sequence_length each: -100 where nothing is
  // learned.
  void row(std::uint64_t index, std::span<std::int64_t> ids, std::span<std::int64_t> targets) const;

 private:
  struct Row {
    std::uint64_t begin = 0, length = 0;
  };
  Dataset() = default;
  Result<void> add(const std::filesystem::path& file, const Tokenizer& tokenizer);
  Result<void> add_text(const std::filesystem::path& file, const Tokenizer& tokenizer);
  Result<void> add_jsonl(const std::filesystem::path& file, const Tokenizer& tokenizer);
  Result<void> add_bin(const std::filesystem::path& file);
  Result<void> add_record(const Record& record, const std::string& origin);
  Result<void> append(std::span<const TokenId> ids, std::uint64_t position,
                      const std::string& origin);
  void end_document(bool needs_end);
  // dataset_rows.cpp
  void cut();
  void cut_joined();
  void cut_padded();
  bool learned(std::uint64_t token) const { return ignored_.empty() || !ignored_[token]; }
  bool has_targets(const Row& row) const;
  Row at(std::uint64_t index) const;
  std::int64_t id(std::uint64_t token) const;

  DatasetOptions options_;
  PassOrder order_;
  std::variant<std::vector<std::uint16_t>, std::vector<std::uint32_t>> ids_;
  std::vector<bool> ignored_;        // by token; empty: every token is learned
  std::vector<std::uint64_t> ends_;  // of documents, while loading
  std::vector<Row> rows_;            // empty: they follow each other without a gap
  std::uint64_t dropped_ = 0;
};

// The file, or the regular files of the directory in the order of their names; hidden ones are left
// out.
Result<std::vector<std::filesystem::path>> data_files(const std::filesystem::path& path);

}  // namespace fathom::models
