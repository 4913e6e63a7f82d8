// SPDX-License-Identifier: Apache-2.0
#include "engine/run.hpp"

#include <algorithm>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "aio/device.hpp"
#include "aio/gds.hpp"
#include "aio/memory_limits.hpp"
#include "base/log.hpp"
#include "engine/checkpoint.hpp"
#include "engine/durable_state.hpp"
#include "engine/optimizer_rule.hpp"
#include "engine/plan/profile.hpp"
#include "engine/plan/render.hpp"
#include "models/hf_config.hpp"

namespace fathom::engine {
namespace {

constexpr std::uint64_t default_length = 1024;

aio::Engine engine_of(config::IoEngine engine) {
  switch (engine) {
    case config::IoEngine::automatic: return aio::Engine::automatic;
    case config::IoEngine::io_uring: return aio::Engine::io_uring;
    case config::IoEngine::libaio: return aio::Engine::libaio;
    case config::IoEngine::posix: return aio::Engine::posix;
  }
  return aio::Engine::automatic;
}

Tier tier_of(const config::OffloadConfig& offload) {
  return offload.tier == config::Tier::nvme ? Tier::nvme : Tier::host;
}

// A GPU computes in the precision of training itself; a CPU may have to widen.
void choose_compute(const config::Config& config, bool cuda, PlanInput& input) {
  const config::Precision precision = config.precision.compute;
  input.gradient_bytes = precision == config::Precision::fp32 ? 4 : 2;
  if (cuda) {
    input.compute = precision == config::Precision::fp32   ? ComputeType::fp32
                    : precision == config::Precision::fp16 ? ComputeType::fp16
                                                           : ComputeType::bf16;
    return;
  }
  if (precision == config::Precision::fp32) {
    input.compute = ComputeType::fp32;
  } else if (precision == config::Precision::fp16) {
    input.compute = ComputeType::fp32;
    input.widen = true;
    log::note(
        "fp16 on the CPU: weights are widened to fp32 when they land and computed in fp32; "
        "gradients rest in fp16");
  } else {
    input.compute = has_fast_bf16() ? ComputeType::bf16 : ComputeType::fp32;
    input.widen = input.compute == ComputeType::fp32;
    if (input.widen)
      log::note(
          "this CPU has no fast bf16: weights are widened to fp32 when they land and computed in "
          "fp32");
  }
  if (config.precision.tf32) log::note("--tf32 has no effect on the CPU: products are full fp32");
}

// communication_data_type, or else the model's own.
ComputeType reduce_type(const config::Config& config) {
  switch (config.communication.dtype.value_or(config.precision.compute)) {
    case config::Precision::bf16: return ComputeType::bf16;
    case config::Precision::fp16: return ComputeType::fp16;
    default: return ComputeType::fp32;
  }
}

PlanInput training_input(const TrainingSetup& setup, const config::Config& config) {
  PlanInput input;
  input.model = setup.spec;
  input.mode = Mode::train;
  const config::Precision precision = config.precision.compute;
  input.sections = training_sections(precision, config.optimizer);
  input.device = setup.device.kind;
  choose_compute(config, input.on_cuda(), input);
  if (config.precision.grad_accum != config::Precision::fp32)
    log::note(
        fmt::format("data_types.grad_accum_dtype {}: gradients are summed in fp32, which "
                    "takes no more memory here and loses nothing",
                    to_string(config.precision.grad_accum)));
  input.micro_batch = config.batch.micro;
  input.accumulation = config.batch.accumulation;
  input.length = setup.length;
  input.target_length = setup.target_length;
  // An fp16 overflow is known only when backward ends.
  input.lazy = config.gradient_clipping > 0 || precision == config::Precision::fp16;
  input.weights_lowest = tier_of(config.zero.offload_param);
  input.states_lowest = tier_of(config.zero.offload_optimizer);
  input.chunk_elements = config.zero.chunk_elements;
  input.path_weights = path_weights(config);
  input.world = static_cast<std::uint32_t>(config.batch.world_size);
  input.stage = config.zero.stage;
  // What is not partitioned rests whole in memory.
  if (input.world > 1 && input.stage < 3) input.weights_lowest = Tier::host;
  input.reduce = reduce_type(config);
  input.threads = worker_pool().size();
  for (const auto* data : {&setup.data, &setup.eval_data})
    if (*data) input.fixed_bytes += (*data)->memory_bytes();
  return input;
}

Result<void> open_data(const TrainOptions& options, TrainingSetup& setup) {
  RowOptions rows{.length = setup.length,
                  .target_length = setup.target_length,
                  .wide = options.wide_data,
                  .packing = options.packing,
                  .shuffle = options.shuffle,
                  .seed = options.seed};
  const config::Config& config = setup.config.config;
  if (config.dataloader_drop_last) rows.batch = config.batch.train;
  FATHOM_ASSIGN(setup.data, RowData::open(options.data, *setup.tokenizer, setup.spec, rows));
  if (options.eval_data.empty()) return {};
  // In file order, all of it.
  rows.shuffle = false;
  rows.batch = 0;
  FATHOM_ASSIGN(setup.eval_data,
                RowData::open(options.eval_data, *setup.tokenizer, setup.spec, rows));
  return {};
}

// What works with one rank only.
Result<void> refuse_for_ranks(const config::Config& config, const PlanInput& input, bool runs) {
  if (input.world == 1) return {};
  const auto refuse = [&](const char* key, const char* why, const char* remedy) {
    return fail(
        Error(Errc::bad_config, "train with several ranks").on(key).because(why).remedy(remedy));
  };
  if (config.fathom.store == config::StoreMode::durable)
    return refuse("fathom.store \"durable\"", "its commits are one rank's",
                  "use \"scratch\" and --save-every");
  if (runs && input.on_cuda())
    return refuse("--device cuda", "several ranks train on CPUs only in this version",
                  "add --device cpu, or start one process");
  if (config.communication.op == config::ReduceOp::sum)
    return refuse("gradient_allreduce_op sum", "a step takes the mean over the global batch",
                  "use \"mean\" and raise the learning rate");
  if (config.optimizer.type == config::OptimizerType::lamb)
    return refuse("optimizer.type Lamb", "its norms need whole tensors, and ranks hold parts",
                  "use AdamW, Lion, SGD or Adagrad");
  return {};
}

// Ranks may share this machine's memory: as many as there are at most.
std::uint64_t ranks_here(const comm::Communicator* ranks) {
  return ranks == nullptr ? 1 : static_cast<std::uint64_t>(ranks->size());
}

// All ranks must make the same plan: the rates are rank 0's, the budget the smallest.
Result<void> agree_on_plan(comm::Communicator& ranks, PlanInput& input) {
  struct Message {
    Rates rates;
    std::uint64_t host_memory = 0, device_memory = 0;
  } own{input.rates, input.host_memory.value_or(UINT64_MAX),
        input.device_memory.value_or(UINT64_MAX)};
  std::vector<Message> all(static_cast<std::size_t>(ranks.size()));
  FATHOM_CHECK(ranks.all_gather(comm::Element::bytes, &own, all.data(), sizeof own));
  FATHOM_CHECK(ranks.finish());
  input.rates = all.front().rates;
  for (const Message& one : all) {
    if (input.host_memory) *input.host_memory = std::min(*input.host_memory, one.host_memory);
    if (input.device_memory)
      *input.device_memory = std::min(*input.device_memory, one.device_memory);
  }
  return {};
}

// "auto" leaves the system a fifth of what is free now.
std::uint64_t automatic_host_memory() { return aio::memory_limit().available / 5 * 4; }

}  // namespace

ThreadPool& worker_pool() {
  static ThreadPool pool(std::max(1U, std::thread::hardware_concurrency()));
  return pool;
}

std::vector<std::string> store_paths(const config::Config& config) {
  std::vector<std::string> paths;
  for (const config::NvmePath& path : config.fathom.nvme_paths) paths.push_back(path.path);
  return paths;
}

std::vector<double> path_weights(const config::Config& config) {
  std::vector<double> weights;
  for (const config::NvmePath& path : config.fathom.nvme_paths)
    weights.push_back(path.weight.value_or(1.0));
  if (weights.empty()) weights.push_back(1.0);
  return weights;
}

aio::QueueOptions queue_options(const config::Config& config) {
  return {.engine = engine_of(config.fathom.engine),
          .block_size = config.aio.block_bytes,
          .queue_depth = config.aio.queue_depth,
          .intra_op_parallelism = config.aio.threads,
          .single_submit = config.aio.single_submit,
          .overlap_events = config.aio.overlap_events};
}

swap::StoreOptions store_options(const config::Config& config, const Plan& plan) {
  swap::StoreOptions options;
  options.paths = store_paths(config);
  options.queue = queue_options(config);
  options.verify = config.fathom.verify == config::Verify::full      ? swap::Verify::full
                   : config.fathom.verify == config::Verify::sampled ? swap::Verify::sampled
                                                                     : swap::Verify::off;
  for (const models::UnitSpec& unit : plan.input.model.units)
    options.unit_names.push_back(unit.name);
  return options;
}

Result<void> check_inference_device(const std::string& device) {
  if (device == "auto") return {};
  FATHOM_CHECK(choose_device(device, Needs::a_run, "generate and eval run on the CPU only yet"));
  return {};
}

Result<RateOverrides> given_rates(const RunOptions& options) {
  RateOverrides rates = options.rates;
  if (options.profile.empty()) return rates;
  FATHOM_ASSIGN(const DeviceProfile profile, read_profile(options.profile));
  if (!rates.read) rates.read = profile.read;
  if (!rates.write) rates.write = profile.write;
  if (!rates.duplex) rates.duplex = profile.duplex;
  return rates;
}

namespace {

// Asked for GPUDirect Storage, people hear what this machine has, once.
void say_gds(const config::Config& config) {
  static bool said = false;
  if (!config.aio.use_gds || std::exchange(said, true)) return;
  const std::vector<std::string> paths = store_paths(config);
  const aio::GdsProbe gds = aio::probe_gds(aio::device_under(paths.empty() ? "." : paths.front()));
  log::note(
      fmt::format("aio.use_gds: GPUDirect Storage is {} here ({}); data goes through pinned "
                  "host memory in this version",
                  aio::to_string(gds), gds.reason));
}

// Settings that change nothing here, where they ask for something.
void say_idle(const config::Config& config) {
  static bool said = false;
  if (std::exchange(said, true)) return;
  const auto say = [](bool asked, const char* key, const char* instead) {
    if (asked) log::note(fmt::format("{} has no effect in this version: {}", key, instead));
  };
  const config::ZeroConfig& zero = config.zero;
  say(config.wall_clock_breakdown, "wall_clock_breakdown", "--trace shows every operation's time");
  say(config.memory_breakdown, "memory_breakdown", "the plan lists every buffer");
  say(zero.enable_sanity_checks, "zero_optimization.enable_sanity_checks",
      "every block that is read is verified as fathom.verify says");
  say(!zero.ignore_unused_parameters, "zero_optimization.ignore_unused_parameters",
      "every parameter of the known families has a gradient");
  say(!zero.compute_grad_norm, "zero_optimization.compute_grad_norm",
      "the norm is computed with the check for gradients that are not finite");
  say(!zero.load_from_fp32_weights, "zero_optimization.load_from_fp32_weights",
      "the master is made of what the checkpoint holds");
  say(!zero.offload_param.pin_memory || !zero.offload_optimizer.pin_memory,
      "zero_optimization.offload_….pin_memory false", "one arena is pinned where limits allow it");
  say(config.communication.prescale_gradients || config.communication.predivide_factor != 1,
      "prescale_gradients, gradient_predivide_factor",
      "a gradient is divided by the predictions of all ranks before it is reduced");
}

}  // namespace

Result<config::Loaded> load_run_config(const RunOptions& options, config::Purpose purpose,
                                       const models::ModelSpec& spec,
                                       std::optional<std::uint64_t> total_steps) {
  config::Sources sources;
  sources.purpose = purpose;
  sources.world_size = options.ranks != nullptr ? static_cast<std::uint64_t>(options.ranks->size())
                                                : options.world_size;
  sources.hidden_size = spec.hidden;
  sources.total_steps = total_steps;
  sources.flags = options.flags;
  FATHOM_ASSIGN(config::Loaded loaded,
                config::load(options.config.empty() ? "{\"train_micro_batch_size_per_gpu\":1}"
                                                    : options.config,
                             sources));
  for (const std::string& note : loaded.notes) log::note(note);
  if (options.ranks == nullptr || options.ranks->rank() == 0) {
    say_gds(loaded.config);
    say_idle(loaded.config);
  }
  if (loaded.config.log_level) {
    const std::string& level = *loaded.config.log_level;
    log::set_level(level == "debug"                          ? log::Level::debug
                   : level == "warning"                      ? log::Level::warning
                   : level == "error" || level == "critical" ? log::Level::error
                                                             : log::Level::info);
  }
  return loaded;
}

std::optional<std::string> resume_point(const TrainOptions& options) {
  if (options.resume && Checkpoint::exists(options.out)) return options.out;
  if (!options.resume_from.empty()) return options.resume_from;
  return std::nullopt;
}

Result<TrainingSetup> prepare_training(const TrainOptions& options, DataNeed need,
                                       std::optional<models::ModelSpec> own) {
  TrainingSetup setup;
  if (own) {
    setup.spec = std::move(*own);
  } else {
    FATHOM_ASSIGN(setup.spec, models::load_config(options.model));
  }
  setup.length = options.seq_len.value_or(std::min(setup.spec.max_positions, default_length));
  if (setup.length == 0 || setup.length > setup.spec.max_positions)
    return fail(Error(Errc::bad_config, "choose the sequence length")
                    .on(fmt::format("--seq-len {}", setup.length))
                    .because(fmt::format("the model has {} positions", setup.spec.max_positions))
                    .remedy(fmt::format("use 1 to {}", setup.spec.max_positions)));
  if (setup.spec.encoder_decoder) setup.target_length = options.target_len.value_or(setup.length);
  // The schedule may need the number of steps, and that the batch size: a first look gives the
  // latter.
  FATHOM_ASSIGN(setup.config, load_run_config(options, config::Purpose::train, setup.spec, 1));
  if (!options.data.empty() || need == DataNeed::required) {
    if (options.data.empty())
      return fail(
          Error(Errc::bad_config, "train").because("no data was given").remedy("add --data FILE"));
    FATHOM_ASSIGN(setup.tokenizer, models::Tokenizer::load(options.model));
    FATHOM_CHECK(open_data(options, setup));
  }
  const std::uint64_t batch = setup.config.config.batch.train;
  const std::uint64_t windows = setup.data ? setup.data->rows() : batch;
  setup.steps = options.flags.max_steps.value_or(
      std::max<std::uint64_t>(1, options.epochs.value_or(3) * windows / batch));
  FATHOM_ASSIGN(setup.config,
                load_run_config(options, config::Purpose::train, setup.spec, setup.steps));

  const config::Config& config = setup.config.config;
  // `fathom plan` also plans for machines that aren't here; what is missing is a shortfall then.
  FATHOM_ASSIGN(setup.device,
                choose_device(options.device, need != DataNeed::none ? Needs::a_run : Needs::a_plan,
                              unusable_on_gpu(setup.spec, config)));
  if (!setup.device.missing.empty()) setup.shortfalls.push_back(setup.device.missing);
  const bool durable = config.fathom.store == config::StoreMode::durable;
  if (durable && store_paths(config).empty())
    return fail(Error(Errc::bad_config, "keep a durable store")
                    .on("fathom.store")
                    .because("no directory is given for it")
                    .remedy("name one in fathom.nvme_paths, or in nvme_path of an offload_… "
                            "object"));
  setup.ranks = options.ranks;
  PlanInput input = training_input(setup, config);
  if (options.ranks != nullptr) input.rank = static_cast<std::uint32_t>(options.ranks->rank());
  FATHOM_CHECK(refuse_for_ranks(config, input, options.ranks != nullptr));
  input.host_memory = config.fathom.host_memory
                          ? *config.fathom.host_memory
                          : automatic_host_memory() / ranks_here(options.ranks);
  const bool disk = input.weights_lowest == Tier::nvme || input.states_lowest == Tier::nvme;
  // A budget that no plan can meet is said before anything is measured; rates don't change that.
  if (config.fathom.host_memory && !setup.device.on_gpu())
    if (auto possible = make_plan(input); !possible) return fail(std::move(possible).error());
  FATHOM_ASSIGN(const RateOverrides rates, given_rates(options));
  input.rates = measure_machine(input, disk ? store_paths(config) : std::vector<std::string>{},
                                queue_options(config), rates, worker_pool());
  FATHOM_CHECK(use_device(setup.device, config, rates, input));
  if (options.ranks != nullptr) FATHOM_CHECK(agree_on_plan(*options.ranks, input));
  std::optional<swap::Layout> stored;
  if (durable) {
    // A run that goes on keeps the chunks of its store, so that it can go on in it.
    if (resume_point(options) == options.out) stored = stored_layout(options.out);
    if (stored) input.chunk_elements = stored->chunk_elements();
  }
  auto plan = make_plan(input, /*fixed_chunks=*/stored.has_value());
  if (!plan && stored) plan = make_plan(input);
  if (!plan) return fail(std::move(plan).error());
  setup.plan = std::move(*plan);
  const bool has_space = stored && same_chunks(*stored, durable_layout(setup.plan));
  for (std::string& shortfall : find_shortfalls(config, setup.plan, has_space))
    setup.shortfalls.push_back(std::move(shortfall));
  return setup;
}

}  // namespace fathom::engine
