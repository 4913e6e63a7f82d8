// SPDX-License-Identifier: Apache-2.0
//
// RowData: training or evaluation data as micro-batches, whatever kind of model learns from it.
//
// Purpose      Windows and records of decoder-only models, pairs of encoder-decoder ones, behind
//              one question: the micro-batch that begins at a place.
// Ownership    Owns the tokens. Tensors of its own in each micro-batch.
// Threads      Immutable once open.
//
//   FATHOM_ASSIGN(const RowData data, RowData::open(path, tokenizer, spec, {.length = 512}));
//   const MicroBatch batch = data.batch(place, rows);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "models/dataset.hpp"
#include "models/pair_dataset.hpp"

namespace fathom::engine {

struct MicroBatch;  // step_executor.hpp

struct RowOptions {
  std::uint64_t length = 0, target_length = 0;
  bool wide = false;
  models::Packing packing = models::Packing::automatic;
  bool shuffle = false;
  std::uint64_t seed = 0;
  std::uint64_t batch = 0;  // rows of a step, when an incomplete one is left out of each pass
};

class RowData {
 public:
  static Result<RowData> open(const std::string& path, const models::Tokenizer& tokenizer,
                              const models::ModelSpec& spec, const RowOptions& options);

  std::uint64_t rows() const;            // of a pass
  std::uint64_t dropped_tokens() const;  // that no step sees
  std::uint64_t memory_bytes() const;
  std::uint64_t tokens_per_row() const { return options_.length + options_.target_length; }

  // Rows [first, first + rows) of the endless sequence of passes. Those from `end` on are there for
  // the shape alone: they have no targets.
  MicroBatch batch(std::uint64_t first, std::uint64_t rows, std::uint64_t end = UINT64_MAX) const;
  // The micro-batches of an evaluation sweep that begins at `first`.
  std::vector<MicroBatch> batches(std::uint64_t first, const config::BatchConfig& shape,
                                  std::uint64_t end = UINT64_MAX) const;
  // Those of a rank in a step that begins at `first`: together the ranks have all of its rows.
  std::vector<MicroBatch> batches_of_rank(std::uint64_t first, const config::BatchConfig& shape,
                                          std::uint64_t rank) const;

 private:
  RowOptions options_;
  std::optional<models::Dataset> rows_;
  std::optional<models::PairDataset> pairs_;
};

}  // namespace fathom::engine
