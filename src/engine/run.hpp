// SPDX-License-Identifier: Apache-2.0
//
// Run: from a command line's inputs to a plan that this machine can carry out.
//
// Purpose      What train, plan, generate and eval share: reading the model's configuration and the
//              ds_config, choosing compute type and tiers, measuring the machine, planning, and
//              refusing before anything is allocated or created.
// Ownership    Values, but for the thread pool, which lives as long as the process.
// Threads      One thread drives a run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "config/config.hpp"
#include "engine/device.hpp"
#include "engine/machine.hpp"
#include "engine/plan/plan.hpp"
#include "models/dataset.hpp"
#include "models/pair_dataset.hpp"
#include "models/tokenizer.hpp"
#include "swap/store.hpp"

namespace fathom::engine {

struct RunOptions {
  std::string model;            // Hugging Face directory, or a config.json (preset)
  std::string config;           // ds_config: path, "-" or inline JSON; empty: defaults
  std::string device = "auto";  // auto | cpu | cuda
  config::CommandLine flags;
  RateOverrides rates;
  std::string profile;  // aio_bench's report with the disk's rates; empty: measured
  std::uint64_t seed = 42;
  std::uint64_t world_size = 1;         // plan only: ranks that are not running
  comm::Communicator* ranks = nullptr;  // of a job of several; outlives the run
};

struct TrainOptions : RunOptions {
  std::string data;
  std::optional<std::uint64_t> seq_len;
  std::optional<std::uint64_t> target_len;  // of the decoder in encoder-decoder models
  std::optional<std::uint64_t> epochs;
  bool shuffle = false, wide_data = false;
  std::string out, metrics, report, trace;
  bool resume = false;
  bool quiet = false;  // no progress line
};

struct InferenceOptions : RunOptions {
  std::string dtype;  // fp32 | bf16 | fp16; empty: the model's own
  std::string trace;
};

// The pool of update kernels and checksums, one thread a core.
ThreadPool& worker_pool();

// Everything decided, nothing allocated.
struct TrainingSetup {
  models::ModelSpec spec;
  config::Loaded config;
  std::optional<models::Tokenizer> tokenizer;
  // Absent when `fathom plan` was given no data; pairs for encoder-decoder models.
  std::optional<models::Dataset> data;
  std::optional<models::PairDataset> pairs;
  std::uint64_t length = 0, target_length = 0, steps = 0;

  std::uint64_t windows() const;         // or records
  std::uint64_t dropped_tokens() const;  // that no step sees
  std::uint64_t tokens_per_row() const { return length + target_length; }
  Device device;
  Plan plan;
  std::vector<std::string> shortfalls;  // what this machine lacks for the plan
};

// `need_data`: an absent --data is an Error. Errors: bad_config, bad_input, not_found.
Result<TrainingSetup> prepare_training(const TrainOptions& options, bool need_data);

// The store's options for a plan: directories, queue, verification.
swap::StoreOptions store_options(const config::Config& config, const Plan& plan);

// Directories of the store, in the order of the layout's paths; empty when none is configured.
std::vector<std::string> store_paths(const config::Config& config);
std::vector<double> path_weights(const config::Config& config);
aio::QueueOptions queue_options(const config::Config& config);

// What the machine lacks, as sentences: memory, disk space. `has_space`: the store is there
// already.
std::vector<std::string> find_shortfalls(const config::Config& config, const Plan& plan,
                                         bool has_space = false);

// bad_config with all shortfalls, for those who can't go on with them.
Result<void> refuse_shortfalls(const std::vector<std::string>& shortfalls);

// Checks --device for inference, which runs on the CPU: "cuda" is refused with the reason.
Result<void> check_inference_device(const std::string& device);

// The rates that are given, not measured: those of flags first, then those of the profile.
Result<RateOverrides> given_rates(const RunOptions& options);

// Loads the ds_config with the command line's flags; prints its notes.
Result<config::Loaded> load_run_config(const RunOptions& options, config::Purpose purpose,
                                       const models::ModelSpec& spec,
                                       std::optional<std::uint64_t> total_steps);

}  // namespace fathom::engine
