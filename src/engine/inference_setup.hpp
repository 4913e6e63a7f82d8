// SPDX-License-Identifier: Apache-2.0
//
// InferenceSetup: a model ready to be swept: planned, loaded, its blocks made.
//
// Purpose      What generate and eval share. Weights rest in the compute type; they live in host
// memory
//              as far as the budget goes and on nvme beyond, when the configuration allows it.
// Ownership    Owns everything; the executor borrows from it. Not movable once opened.
// Threads      One thread drives it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/inference.hpp"
#include "engine/run.hpp"

namespace fathom::engine {

// How large the batches of a sweep get.
struct SweepShape {
  std::uint64_t rows = 1;      // of one batch
  std::uint64_t batches = 1;   // in one sweep
  std::uint64_t length = 1;    // tokens of a row in the longest sweep
  std::uint64_t capacity = 0;  // cached positions a row; 0: no cache
  std::uint64_t target = 0;  // encoder-decoder: tokens of a row in the decoder, all sweeps together
};

class InferenceSetup {
 public:
  // Reads config.json and ds_config: what the caller needs to choose its SweepShape.
  static Result<std::unique_ptr<InferenceSetup>> read(const InferenceOptions& options);

  // Plans for `shape`, allocates, loads the weights.
  Result<void> open(const SweepShape& shape);

  const models::ModelSpec& spec() const { return spec_; }
  const config::Config& config() const { return config_.config; }
  const Plan& plan() const { return *plan_; }
  ComputeType compute() const { return compute_; }
  InferenceExecutor& executor() { return *executor_; }
  Residence& residence() { return *residence_; }

  // Empty caches for one batch of `rows`; of an encoder's output of `source` tokens too.
  std::vector<models::LayerCache> make_caches(std::uint64_t rows, std::uint64_t source = 0) const;

  // Writes the trace when one was asked for.
  Result<void> finish();

 private:
  // Keys and values that one row of a batch keeps, in elements.
  std::uint64_t cache_elements() const;
  InferenceSetup(const InferenceOptions& options) : options_(options) {}

  InferenceOptions options_;
  models::ModelSpec spec_;
  config::Loaded config_;
  ComputeType compute_ = ComputeType::fp32;
  SweepShape shape_;
  std::optional<Plan> plan_;
  models::Model model_;
  std::unique_ptr<Residence> residence_;
  std::optional<Trace> trace_;
  std::unique_ptr<InferenceExecutor> executor_;
};

}  // namespace fathom::engine
