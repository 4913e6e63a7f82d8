// SPDX-License-Identifier: Apache-2.0
#include "engine/row_data.hpp"

#include <algorithm>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "engine/pair_batch.hpp"
#include "engine/step_executor.hpp"
#include "models/loss.hpp"

namespace fathom::engine {

Result<RowData> RowData::open(const std::string& path, const models::Tokenizer& tokenizer,
                              const models::ModelSpec& spec, const RowOptions& options) {
  RowData data;
  data.options_ = options;
  if (spec.encoder_decoder) {
    FATHOM_ASSIGN(data.pairs_, models::PairDataset::open(path, tokenizer, spec,
                                                         {.source_length = options.length,
                                                          .target_length = options.target_length,
                                                          .shuffle = options.shuffle,
                                                          .seed = options.seed,
                                                          .batch = options.batch}));
    return data;
  }
  models::DatasetOptions rows{.sequence_length = options.length,
                              .vocabulary = spec.vocabulary,
                              .shuffle = options.shuffle,
                              .seed = options.seed,
                              .wide = options.wide,
                              .packing = options.packing,
                              .batch = options.batch};
  if (!spec.eos_tokens.empty()) rows.eos = spec.eos_tokens.front();
  rows.padding = spec.pad_token.value_or(0);
  FATHOM_ASSIGN(data.rows_, models::Dataset::open(path, tokenizer, rows));
  return data;
}

std::uint64_t RowData::rows() const { return pairs_ ? pairs_->records() : rows_->windows(); }

std::uint64_t RowData::dropped_tokens() const {
  return pairs_ ? pairs_->dropped_tokens() : rows_->dropped_tokens();
}

std::uint64_t RowData::memory_bytes() const {
  return pairs_ ? pairs_->memory_bytes() : rows_->memory_bytes();
}

MicroBatch RowData::batch(std::uint64_t first, std::uint64_t rows, std::uint64_t end) const {
  MicroBatch batch;
  if (pairs_) {
    PairBatch pairs = pair_batch(*pairs_, first, rows, options_.length, options_.target_length);
    batch = {.input_ids = std::move(pairs.input_ids),
             .targets = std::move(pairs.labels),
             .attention_mask = std::move(pairs.attention_mask),
             .decoder_input_ids = std::move(pairs.decoder_input_ids)};
  } else {
    const auto type = at::TensorOptions().dtype(c10::ScalarType::Long);
    const auto columns = static_cast<std::int64_t>(options_.length);
    batch = {at::empty({static_cast<std::int64_t>(rows), columns}, type),
             at::empty({static_cast<std::int64_t>(rows), columns}, type)};
    auto* ids = static_cast<std::int64_t*>(batch.input_ids.data_ptr());
    auto* targets = static_cast<std::int64_t*>(batch.targets.data_ptr());
    for (std::uint64_t r = 0; r < rows; ++r)
      rows_->row(first + r, {ids + r * options_.length, options_.length},
                 {targets + r * options_.length, options_.length});
  }
  if (first + rows > end) {
    const auto columns = static_cast<std::uint64_t>(batch.targets.size(1));
    auto* targets = static_cast<std::int64_t*>(batch.targets.data_ptr());
    const std::uint64_t real = end > first ? end - first : 0;
    std::fill(targets + real * columns, targets + rows * columns, models::ignored_target);
  }
  return batch;
}

std::vector<MicroBatch> RowData::batches(std::uint64_t first, const config::BatchConfig& shape,
                                         std::uint64_t end) const {
  std::vector<MicroBatch> list;
  for (std::uint64_t i = 0; i < shape.accumulation; ++i)
    list.push_back(batch(models::first_row(first, i, shape.micro, 0, 1), shape.micro, end));
  return list;
}

std::vector<MicroBatch> RowData::batches_of_rank(std::uint64_t first,
                                                 const config::BatchConfig& shape,
                                                 std::uint64_t rank) const {
  std::vector<MicroBatch> list;
  for (std::uint64_t i = 0; i < shape.accumulation; ++i)
    list.push_back(
        batch(models::first_row(first, i, shape.micro, rank, shape.world_size), shape.micro));
  return list;
}

}  // namespace fathom::engine
