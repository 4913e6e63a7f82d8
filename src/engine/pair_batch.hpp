// SPDX-License-Identifier: Apache-2.0
//
// PairBatch: records of a PairDataset as tensors.
//
// Ownership    Tensors of its own.
//
//   const PairBatch batch = pair_batch(data, first, rows, source_length, target_length);
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "models/pair_dataset.hpp"

namespace fathom::engine {

struct PairBatch {
  at::Tensor input_ids, attention_mask;  // int64 [rows, source_length]
  at::Tensor decoder_input_ids, labels;  // int64 [rows, target_length]
};

PairBatch pair_batch(const models::PairDataset& data, std::uint64_t first, std::uint64_t rows,
                     std::uint64_t source_length, std::uint64_t target_length);

}  // namespace fathom::engine
