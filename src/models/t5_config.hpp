// SPDX-License-Identifier: Apache-2.0
//
// T5Config: what the blocks of T5 and T0 need beyond sizes. Pure, no LibTorch.
//
// Ownership    A value inside ModelSpec.
//
//   relative_bucket(key - query, /*bidirectional=*/true, spec.t5.buckets, spec.t5.max_distance)
#pragma once

#include <cstdint>

#include "models/causal_config.hpp"

namespace fathom::models {

struct T5Config {
  std::uint64_t encoder_layers = 0, decoder_layers = 0;
  std::uint64_t buckets = 32, max_distance = 128;  // of the relative positions
  double norm_eps = 1e-6;
  Activation activation = Activation::relu;
  double logit_scale = 1;  // d_model^-0.5 before a tied head
};

// The row of the relative-position table for a key at `distance` = key - query.
std::uint64_t relative_bucket(std::int64_t distance, bool bidirectional, std::uint64_t buckets,
                              std::uint64_t max_distance);

}  // namespace fathom::models
