// SPDX-License-Identifier: Apache-2.0
//
// Batch triple: train_batch_size = micro-batch × accumulation × world, any two give the third.
// Pure.
//
//   Result<BatchConfig> batch = complete_batch({.train = 32, .micro = 8}, 2);
//   batch->accumulation  -> 2
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.hpp"
#include "config/config.hpp"

namespace fathom::config {

struct GivenBatch {
  std::optional<std::uint64_t> train, micro, accumulation;
};

// Errors (bad_config) print the four numbers, or name the two sizes of which one is needed.
Result<BatchConfig> complete_batch(const GivenBatch& given, std::uint64_t world_size);

}  // namespace fathom::config
