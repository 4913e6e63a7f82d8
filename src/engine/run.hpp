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
#include "engine/row_data.hpp"
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
  models::Packing packing = models::Packing::automatic;
  std::string out, metrics, report, trace;
  bool resume = false;
  std::string resume_from;  // a checkpoint to begin with; with `resume`, when --out has none
  // Checkpoints during the run; 0: at the end only.
  std::uint64_t save_every = 0, keep_last = 1;
  // Evaluation: every so many steps (0: at the end only) on data of its own.
  std::string eval_data;
  std::uint64_t eval_every = 0;
  bool save_best = false;
  std::uint64_t patience = 0;  // evaluations without a better loss that end the run; 0: none do
  double threshold = 0;        // by which a loss must be lower to be better
  bool quiet = false;          // no progress line
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
  std::optional<RowData> data, eval_data;  // no data: `fathom plan` was given none
  std::uint64_t length = 0, target_length = 0, steps = 0;

  std::uint64_t tokens_per_row() const { return length + target_length; }
  Device device;
  comm::Communicator* ranks = nullptr;  // the options' own
  Plan plan;
  std::vector<std::string> shortfalls;  // what this machine lacks for the plan
};

// What a run needs besides its options.
enum class DataNeed : std::uint8_t {
  none,      // `fathom plan`: for machines that aren't here, too
  required,  // an absent --data is an Error
  brought    // the caller brings rows with each step
};
// `own`: a model of the caller's instead of options.model's. Errors: bad_config, bad_input,
// not_found.
Result<TrainingSetup> prepare_training(const TrainOptions& options, DataNeed need,
                                       std::optional<models::ModelSpec> own = {});

// What a run that goes on goes on from: a checkpoint's path, or nothing.
std::optional<std::string> resume_point(const TrainOptions& options);

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
