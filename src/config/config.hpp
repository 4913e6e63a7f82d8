// SPDX-License-Identifier: Apache-2.0
//
// Config: a ds_config.json, checked, resolved and typed.
//
// Purpose      load() reads a configuration in any accepted form, completes it from the command
// line,
//              the model and the world, checks every key and every combination, and returns one
//              typed value. Nothing downstream looks at JSON again.
// Ownership    Values.
// Threads      load() may be called from any thread; "-" reads the process's standard input.
// Units        Elements where a name says elements or parameters, bytes where it says bytes or
// memory.
//
//   config::Sources sources{.world_size = 1, .hidden_size = 2048};
//   FATHOM_ASSIGN(config::Loaded loaded, config::load("ds_config.json", sources));
//   for (const std::string& note : loaded.notes) log::note(note);
//   if (loaded.config.zero.offload_optimizer.tier == config::Tier::nvme) …
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.hpp"
#include "config/sources.hpp"

namespace fathom::config {

enum class Precision : std::uint8_t { fp32, bf16, fp16 };
enum class Tier : std::uint8_t { none, cpu, nvme };  // none: device memory
enum class OptimizerType : std::uint8_t { adam, adamw, lion, adagrad, sgd, lamb };
enum class ReduceOp : std::uint8_t { mean, sum };
enum class StoreMode : std::uint8_t { scratch, durable };
enum class Verify : std::uint8_t { full, sampled, off };
enum class IoEngine : std::uint8_t { automatic, io_uring, libaio, posix };
enum class ActivationTier : std::uint8_t { automatic, device, host, nvme };
enum class StateFormat : std::uint8_t { exact };
enum class TagValidation : std::uint8_t { warn, ignore, fail };

const char* to_string(Precision precision);
const char* to_string(Tier tier);
const char* to_string(OptimizerType type);
const char* to_string(IoEngine engine);

struct BatchConfig {
  std::uint64_t train = 1;         // samples per optimizer step, all ranks
  std::uint64_t micro = 1;         // samples per forward and rank
  std::uint64_t accumulation = 1;  // micro-batches per optimizer step
  std::uint64_t world_size = 1;
  bool operator==(const BatchConfig&) const = default;
};

// Fields that a type does not use keep their defaults.
struct OptimizerConfig {
  OptimizerType type = OptimizerType::adamw;  // as named; Adam's form is told by `decoupled`
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled = true;  // AdamW; false: Adam with L2
  bool bias_correction = true;
  double momentum = 0, dampening = 0;  // SGD
  bool nesterov = false;
  double max_coeff = 10, min_coeff = 0.01;  // LAMB
  bool eps_inside_sqrt = false;
  // States an update keeps for each element, beside the master weight.
  bool has_m() const { return type != OptimizerType::adagrad && !is_plain_sgd(); }
  bool has_v() const { return type != OptimizerType::lion && type != OptimizerType::sgd; }
  bool is_plain_sgd() const { return type == OptimizerType::sgd && momentum == 0; }
  // Whether a schedule can cycle the first beta.
  bool has_betas() const { return type != OptimizerType::sgd && type != OptimizerType::adagrad; }
  bool operator==(const OptimizerConfig&) const = default;
};

enum class SchedulerType : std::uint8_t {
  constant,
  warmup,         // WarmupLR
  warmup_decay,   // WarmupDecayLR
  warmup_cosine,  // WarmupCosineLR
  range_test,     // LRRangeTest
  one_cycle,      // OneCycle
  hf_constant_with_warmup,
  hf_linear,
  hf_cosine,
  hf_cosine_with_restarts,
  hf_polynomial,
};

// Fields that a type does not use keep their defaults.
struct SchedulerConfig {
  SchedulerType type = SchedulerType::constant;
  double warmup_min_lr = 0, warmup_max_lr = 0;
  double warmup_min_ratio = 0, cos_min_ratio = 1e-4;
  std::uint64_t warmup_num_steps = 0, total_num_steps = 0;
  bool log_warmup = true;  // false: linear
  double range_min_lr = 1e-3, range_step_rate = 1;
  std::uint64_t range_step_size = 2000;
  bool range_staircase = false;
  double cycle_min_lr = 0, cycle_max_lr = 0, decay_lr_rate = 0;
  std::uint64_t cycle_first_steps = 2000, cycle_second_steps = 2000, decay_step_size = 0;
  std::uint64_t cycle_first_stairs = 0, cycle_second_stairs = 0;  // 0: a straight line
  bool cycle_momentum = true;
  double cycle_min_mom = 0.8, cycle_max_mom = 0.9, decay_mom_rate = 0;
  std::int64_t last_batch_iteration = -1;  // where a run that resumes nothing begins
  bool operator==(const SchedulerConfig&) const = default;
};

struct LossScaleConfig {  // of fp16
  double loss_scale = 0;  // 0: dynamic
  std::uint64_t initial_scale_power = 16, window = 1000, hysteresis = 2, min_loss_scale = 1;
  bool consecutive_hysteresis = false;
  bool operator==(const LossScaleConfig&) const = default;
};

struct PrecisionConfig {
  Precision compute = Precision::fp32;
  Precision grad_accum = Precision::fp32;  // data_types.grad_accum_dtype
  bool check_grad_overflow = true;         // skip a step whose gradients are not finite
  bool auto_cast = false;                  // fp16: cast floating inputs
  bool tf32 = false;                       // --tf32
  LossScaleConfig loss_scale = {};
  bool operator==(const PrecisionConfig&) const = default;
};

struct OffloadConfig {
  Tier tier = Tier::none;      // lowest tier allowed, after the fallback
  std::string nvme_path = {};  // empty: none given
  bool nvme_fallback = false;  // nvme was asked for without a directory, so the tier is cpu
  bool pin_memory = true;
  bool operator==(const OffloadConfig&) const = default;
};

struct ZeroConfig {
  int stage = 0;
  std::uint64_t chunk_elements = 16 << 20;  // sub_group_size: a multiple of 4096, at most 16 Mi
  OffloadConfig offload_param = {}, offload_optimizer = {};
  std::uint64_t max_in_cpu = 1'000'000'000;               // weight elements in the host tier
  double optimizer_ratio = 1.0;                           // share of the update done on the CPU
  double optimizer_cores = 0.8;                           // share of the cores for the update
  std::uint64_t reduce_bucket_elements = 500'000'000;     // 0: no cap
  std::uint64_t allgather_bucket_elements = 500'000'000;  // 0: no cap
  std::uint64_t prefetch_elements = 50'000'000;  // look-ahead beyond the current unit; 0: off
  std::uint64_t param_persistence_elements = 100'000;
  std::uint64_t model_persistence_elements = INT64_MAX;
  std::uint64_t max_live_parameters = 1'000'000'000;
  bool overlap_comm = false;
  bool load_from_fp32_weights = true;
  bool gather_16bit_weights_on_model_save = false;
  bool ignore_unused_parameters = true;
  bool enable_sanity_checks = false;
  bool compute_grad_norm = true;
  bool operator==(const ZeroConfig&) const = default;
};

struct AioConfig {
  std::uint64_t block_bytes = 1 << 20;  // a multiple of 4096
  std::uint32_t queue_depth = 8;        // in flight per thread
  std::uint32_t threads = 1;            // intra_op_parallelism
  bool single_submit = false, overlap_events = true;
  bool use_gds = false;  // wanted; what is there the engine finds out
  bool operator==(const AioConfig&) const = default;
};

struct NvmePath {
  std::string path;
  std::optional<double> weight = {};  // nothing: by measured bandwidth
  bool operator==(const NvmePath&) const = default;
};

struct FathomConfig {
  std::optional<std::uint64_t> device_memory = {}, host_memory = {};  // bytes; nothing: automatic
  std::vector<NvmePath> nvme_paths =
      {};  // the stripe set: as listed, then the nvme_path keys in use
  StoreMode store = StoreMode::scratch;
  std::uint64_t commit_interval = 1;  // optimizer steps
  Verify verify = Verify::full;
  IoEngine engine = IoEngine::automatic;
  ActivationTier activation_tier = ActivationTier::automatic;
  StateFormat state_format = StateFormat::exact;
  bool parity = false;
  bool operator==(const FathomConfig&) const = default;
};

struct ActivationConfig {
  bool cpu_checkpointing = false;
  std::optional<std::uint64_t> number_checkpoints = {};
  bool operator==(const ActivationConfig&) const = default;
};

struct CheckpointConfig {
  TagValidation tag_validation = TagValidation::warn;
  bool use_node_local_storage = false;
  bool operator==(const CheckpointConfig&) const = default;
};

struct CommunicationConfig {
  std::optional<Precision> dtype = {};  // of reductions; nothing: the model's
  ReduceOp op = ReduceOp::mean;
  bool prescale_gradients = false;
  double predivide_factor = 1;
  bool operator==(const CommunicationConfig&) const = default;
};

struct MonitorConfig {  // tensorboard, csv_monitor
  bool enabled = false;
  std::string output_path = {};  // empty: the working directory
  std::string job_name = "DeepSpeedJobName";
  bool operator==(const MonitorConfig&) const = default;
};

struct Config {
  BatchConfig batch;
  OptimizerConfig optimizer;
  SchedulerConfig scheduler;
  PrecisionConfig precision;
  ZeroConfig zero;
  AioConfig aio;
  FathomConfig fathom;
  ActivationConfig activation;
  CheckpointConfig checkpoint;
  CommunicationConfig communication;
  MonitorConfig tensorboard, csv_monitor;
  double gradient_clipping = 1.0;     // global L2 norm; 0: off
  std::uint64_t steps_per_print = 0;  // 0: not set
  bool dataloader_drop_last = false;
  bool wall_clock_breakdown = false;
  bool memory_breakdown = false;
  bool dump_state = false;
  bool throughput_timer = true;
  std::optional<std::string> log_level = {};  // debug, info, warning, error or critical
  bool operator==(const Config&) const = default;
};

struct Loaded {
  Config config;
  std::vector<std::string> notes;  // one per key: repairs, old names, keys without effect
  // Every key that has an effect, with defaults and `auto` filled in, under its own name. Loaded
  // again with the same Sources it gives the same Config.
  nlohmann::json resolved;
};

// `source`: a path, "-" for standard input, JSON text, or base64 of JSON text. Errors: bad_config
// with every problem on its own line; not_found or io when a file cannot be read.
Result<Loaded> load(std::string_view source, const Sources& sources);
Result<Loaded> load_object(const nlohmann::json& object, const Sources& sources);

}  // namespace fathom::config
