// SPDX-License-Identifier: Apache-2.0
#include "config/build.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.hpp"
#include "base/units.hpp"
#include "config/resolve.hpp"

namespace fathom::config {
namespace {

using nlohmann::json;

// The enumerator that a checked word stands for.
template <class Enum, std::size_t N>
Enum word(const Values& values, std::string_view path,
          const std::array<std::pair<std::string_view, Enum>, N>& words) {
  const std::string text = values.text(path);
  const auto found =
      std::ranges::find(words, text, [](const auto& entry) { return std::string(entry.first); });
  FATHOM_ASSERT(found != words.end(), "a word that the table lets pass has no meaning");
  return found->second;
}

template <class Enum>
using Words = std::pair<std::string_view, Enum>;

constexpr std::array precisions = {Words<Precision>{"fp32", Precision::fp32},
                                   Words<Precision>{"bf16", Precision::bf16},
                                   Words<Precision>{"fp16", Precision::fp16}};

OptimizerConfig build_optimizer(const Values& values) {
  static constexpr std::array types = {Words<OptimizerType>{"Adam", OptimizerType::adam},
                                       Words<OptimizerType>{"AdamW", OptimizerType::adamw},
                                       Words<OptimizerType>{"Lion", OptimizerType::lion},
                                       Words<OptimizerType>{"Adagrad", OptimizerType::adagrad},
                                       Words<OptimizerType>{"SGD", OptimizerType::sgd},
                                       Words<OptimizerType>{"Lamb", OptimizerType::lamb}};
  OptimizerConfig out;
  out.type = word(values, "optimizer.type", types);
  out.lr = values.number("optimizer.params.lr");
  out.weight_decay = values.number("optimizer.params.weight_decay");
  if (out.type == OptimizerType::sgd) {
    out.momentum = values.number("optimizer.params.momentum");
    out.dampening = values.number("optimizer.params.dampening");
    out.nesterov = values.boolean("optimizer.params.nesterov");
    return out;
  }
  if (out.has_betas()) {
    out.beta1 = values.at("optimizer.params.betas").value[0].get<double>();
    out.beta2 = values.at("optimizer.params.betas").value[1].get<double>();
  }
  if (out.has_v()) out.eps = values.number("optimizer.params.eps");
  if (out.type == OptimizerType::lion || out.type == OptimizerType::adagrad) return out;
  out.bias_correction = values.boolean("optimizer.params.bias_correction");
  if (out.type == OptimizerType::lamb) {
    out.max_coeff = values.number("optimizer.params.max_coeff");
    out.min_coeff = values.number("optimizer.params.min_coeff");
    out.eps_inside_sqrt = values.boolean("optimizer.params.eps_inside_sqrt");
    return out;
  }
  // "Adam" decays like AdamW unless it is told otherwise.
  out.decoupled =
      out.type == OptimizerType::adamw || values.boolean("optimizer.params.adam_w_mode");
  return out;
}

SchedulerType scheduler_type(const Values& values, const Sources& sources) {
  if (values.at("scheduler").given) {
    static constexpr std::array words = {
        Words<SchedulerType>{"WarmupLR", SchedulerType::warmup},
        Words<SchedulerType>{"WarmupDecayLR", SchedulerType::warmup_decay},
        Words<SchedulerType>{"WarmupCosineLR", SchedulerType::warmup_cosine},
        Words<SchedulerType>{"LRRangeTest", SchedulerType::range_test},
        Words<SchedulerType>{"OneCycle", SchedulerType::one_cycle}};
    return word(values, "scheduler.type", words);
  }
  const std::string flag = sources.flags.lr_scheduler_type.value_or("constant");
  if (flag == "constant_with_warmup") return SchedulerType::hf_constant_with_warmup;
  if (flag == "linear") return SchedulerType::hf_linear;
  if (flag == "cosine") return SchedulerType::hf_cosine;
  if (flag == "cosine_with_restarts") return SchedulerType::hf_cosine_with_restarts;
  if (flag == "polynomial") return SchedulerType::hf_polynomial;
  return SchedulerType::constant;
}

SchedulerConfig build_one_cycle(const Values& values) {
  const auto number = [&](const char* name) {
    return values.number(std::string("scheduler.params.") + name);
  };
  const auto integer = [&](const char* name) {
    return values.integer(std::string("scheduler.params.") + name);
  };
  const auto second = [&](const char* name, std::uint64_t first) {
    return values.optional_integer(std::string("scheduler.params.") + name).value_or(first);
  };
  SchedulerConfig out{.type = SchedulerType::one_cycle};
  out.cycle_min_lr = number("cycle_min_lr");
  out.cycle_max_lr = number("cycle_max_lr");
  out.decay_lr_rate = number("decay_lr_rate");
  out.cycle_first_steps = integer("cycle_first_step_size");
  out.cycle_second_steps = second("cycle_second_step_size", out.cycle_first_steps);
  out.cycle_first_stairs = integer("cycle_first_stair_count");
  out.cycle_second_stairs = second("cycle_second_stair_count", out.cycle_first_stairs);
  out.decay_step_size = integer("decay_step_size");
  out.cycle_momentum = values.boolean("scheduler.params.cycle_momentum");
  out.cycle_min_mom = number("cycle_min_mom");
  out.cycle_max_mom = number("cycle_max_mom");
  out.decay_mom_rate = number("decay_mom_rate");
  out.last_batch_iteration = values.signed_integer("scheduler.params.last_batch_iteration");
  return out;
}

SchedulerConfig build_scheduler(const Values& values, const Sources& sources) {
  SchedulerConfig out;
  out.type = scheduler_type(values, sources);
  const auto number = [&](const char* name) {
    return values.number(std::string("scheduler.params.") + name);
  };
  switch (out.type) {
    case SchedulerType::constant: return out;
    case SchedulerType::one_cycle: return build_one_cycle(values);
    case SchedulerType::hf_constant_with_warmup:
    case SchedulerType::hf_linear:
    case SchedulerType::hf_cosine:
    case SchedulerType::hf_cosine_with_restarts:
    case SchedulerType::hf_polynomial:
      // Hugging Face's own warm-up may be shorter than the two steps of the file's schedulers.
      out.warmup_num_steps = warmup_steps(sources.flags, total_steps(sources)).value_or(0);
      out.total_num_steps = total_steps(sources).value_or(0);
      return out;
    case SchedulerType::warmup_decay:
      out.total_num_steps = values.integer("scheduler.params.total_num_steps");
      [[fallthrough]];
    case SchedulerType::warmup:
      out.warmup_min_lr = number("warmup_min_lr");
      out.warmup_max_lr = number("warmup_max_lr");
      break;
    case SchedulerType::warmup_cosine:
      out.total_num_steps = values.integer("scheduler.params.total_num_steps");
      out.warmup_min_ratio = number("warmup_min_ratio");
      out.cos_min_ratio = number("cos_min_ratio");
      break;
    case SchedulerType::range_test:
      out.range_min_lr = number("lr_range_test_min_lr");
      out.range_step_rate = number("lr_range_test_step_rate");
      out.range_step_size = values.integer("scheduler.params.lr_range_test_step_size");
      out.range_staircase = values.boolean("scheduler.params.lr_range_test_staircase");
      out.last_batch_iteration = values.signed_integer("scheduler.params.last_batch_iteration");
      return out;
  }
  out.warmup_num_steps =
      std::max<std::uint64_t>(2, values.integer("scheduler.params.warmup_num_steps"));
  out.log_warmup = values.text("scheduler.params.warmup_type") == "log";
  out.last_batch_iteration = values.signed_integer("scheduler.params.last_batch_iteration");
  return out;
}

PrecisionConfig build_precision(const Values& values, const Sources& sources) {
  PrecisionConfig out;
  if (values.boolean("bf16.enabled")) out.compute = Precision::bf16;
  if (values.boolean("fp16.enabled")) out.compute = Precision::fp16;
  out.grad_accum = word(values, "data_types.grad_accum_dtype", precisions);
  out.check_grad_overflow = values.boolean("bf16.check_grad_overflow");
  out.auto_cast = values.boolean("fp16.auto_cast");
  out.tf32 = sources.flags.tf32.value_or(false);
  out.loss_scale = {.loss_scale = values.number("fp16.loss_scale"),
                    .initial_scale_power = values.integer("fp16.initial_scale_power"),
                    .window = values.integer("fp16.loss_scale_window"),
                    .hysteresis = values.integer("fp16.hysteresis"),
                    .min_loss_scale = values.integer("fp16.min_loss_scale"),
                    .consecutive_hysteresis = values.boolean("fp16.consecutive_hysteresis")};
  return out;
}

OffloadConfig build_offload(const Values& values, const std::string& object) {
  static constexpr std::array tiers = {Words<Tier>{"none", Tier::none},
                                       Words<Tier>{"cpu", Tier::cpu},
                                       Words<Tier>{"nvme", Tier::nvme}};
  OffloadConfig out;
  out.tier = word(values, object + ".device", tiers);
  out.pin_memory = values.boolean(object + ".pin_memory");
  if (out.tier != Tier::nvme) return out;
  out.nvme_path = values.text_or_empty(object + ".nvme_path");
  if (out.nvme_path.empty() && values.at("fathom.nvme_paths").value.empty()) {
    out.tier = Tier::cpu;
    out.nvme_fallback = true;
  }
  return out;
}

ZeroConfig build_zero(const Values& values, const Sources& sources) {
  const auto integer = [&](const char* name) {
    return values.integer(std::string("zero_optimization.") + name);
  };
  const auto boolean = [&](const char* name) {
    return values.boolean(std::string("zero_optimization.") + name);
  };
  ZeroConfig out;
  out.stage = static_cast<int>(integer("stage"));
  // Without gradients and states, stages 1 and 2 have nothing to partition.
  if (sources.purpose == Purpose::inference && out.stage < 3) out.stage = 0;
  // A copied 1e9 must not ask for slots of 12 GB.
  if (const std::uint64_t elements = integer("sub_group_size"); elements > 0)
    out.chunk_elements =
        std::min(out.chunk_elements, round_up(std::min(elements, out.chunk_elements), 4096));
  out.offload_param = build_offload(values, "zero_optimization.offload_param");
  out.offload_optimizer = build_offload(values, "zero_optimization.offload_optimizer");
  out.max_in_cpu = integer("offload_param.max_in_cpu");
  out.optimizer_ratio = values.number("zero_optimization.offload_optimizer.ratio");
  out.optimizer_cores = values.number("zero_optimization.offload_optimizer.cpuadam_cores_perc");
  out.reduce_bucket_elements = integer("reduce_bucket_size");
  out.allgather_bucket_elements = integer("allgather_bucket_size");
  out.prefetch_elements = integer("stage3_prefetch_bucket_size");
  out.param_persistence_elements = integer("stage3_param_persistence_threshold");
  out.model_persistence_elements = integer("stage3_model_persistence_threshold");
  out.max_live_parameters = integer("stage3_max_live_parameters");
  out.overlap_comm =
      values.is_null("zero_optimization.overlap_comm") ? out.stage == 3 : boolean("overlap_comm");
  out.load_from_fp32_weights = boolean("load_from_fp32_weights");
  out.gather_16bit_weights_on_model_save = boolean("stage3_gather_16bit_weights_on_model_save");
  out.ignore_unused_parameters = boolean("ignore_unused_parameters");
  out.enable_sanity_checks = boolean("enable_sanity_checks");
  out.compute_grad_norm = boolean("compute_grad_norm");
  return out;
}

AioConfig build_aio(const Values& values) {
  return {.block_bytes = values.integer("aio.block_size"),
          .queue_depth = static_cast<std::uint32_t>(values.integer("aio.queue_depth")),
          .threads = static_cast<std::uint32_t>(values.integer("aio.intra_op_parallelism")),
          .single_submit = values.boolean("aio.single_submit"),
          .overlap_events = values.boolean("aio.overlap_events"),
          .use_gds = values.boolean("aio.use_gds")};
}

FathomConfig build_fathom(const Values& values, const ZeroConfig& zero) {
  static constexpr std::array verifies = {Words<Verify>{"full", Verify::full},
                                          Words<Verify>{"sampled", Verify::sampled},
                                          Words<Verify>{"off", Verify::off}};
  static constexpr std::array engines = {
      Words<IoEngine>{"auto", IoEngine::automatic}, Words<IoEngine>{"io_uring", IoEngine::io_uring},
      Words<IoEngine>{"libaio", IoEngine::libaio}, Words<IoEngine>{"posix", IoEngine::posix}};
  static constexpr std::array tiers = {Words<ActivationTier>{"auto", ActivationTier::automatic},
                                       Words<ActivationTier>{"device", ActivationTier::device},
                                       Words<ActivationTier>{"host", ActivationTier::host},
                                       Words<ActivationTier>{"nvme", ActivationTier::nvme}};
  FathomConfig out;
  out.device_memory = values.optional_integer("fathom.device_memory");
  out.host_memory = values.optional_integer("fathom.host_memory");
  for (const json& entry : values.at("fathom.nvme_paths").value) {
    NvmePath path{.path = entry["path"].get<std::string>(), .weight = std::nullopt};
    if (!entry["weight"].is_null()) path.weight = entry["weight"].get<double>();
    out.nvme_paths.push_back(std::move(path));
  }
  for (const OffloadConfig* offload : {&zero.offload_param, &zero.offload_optimizer}) {
    const auto known = std::ranges::find(out.nvme_paths, offload->nvme_path, &NvmePath::path);
    if (!offload->nvme_path.empty() && known == out.nvme_paths.end())
      out.nvme_paths.push_back({.path = offload->nvme_path, .weight = std::nullopt});
  }
  if (values.text("fathom.store") == "durable") out.store = StoreMode::durable;
  out.commit_interval = values.integer("fathom.commit_interval");
  out.verify = zero.enable_sanity_checks ? Verify::full : word(values, "fathom.verify", verifies);
  out.engine = word(values, "fathom.engine", engines);
  out.activation_tier = word(values, "fathom.activation_tier", tiers);
  out.parity = values.boolean("fathom.parity");
  return out;
}

MonitorConfig build_monitor(const Values& values, const std::string& block) {
  return {.enabled = values.boolean(block + ".enabled"),
          .output_path = values.text(block + ".output_path"),
          .job_name = values.text(block + ".job_name")};
}

}  // namespace

Config build_config(const Values& values, const Sources& sources) {
  static constexpr std::array tags = {Words<TagValidation>{"Warn", TagValidation::warn},
                                      Words<TagValidation>{"Ignore", TagValidation::ignore},
                                      Words<TagValidation>{"Fail", TagValidation::fail}};
  Config out;
  out.batch = {.train = values.integer("train_batch_size"),
               .micro = values.integer("train_micro_batch_size_per_gpu"),
               .accumulation = values.integer("gradient_accumulation_steps"),
               .world_size = sources.world_size};
  out.optimizer = build_optimizer(values);
  out.scheduler = build_scheduler(values, sources);
  out.precision = build_precision(values, sources);
  out.zero = build_zero(values, sources);
  out.aio = build_aio(values);
  out.fathom = build_fathom(values, out.zero);
  out.activation = {
      .cpu_checkpointing = values.boolean("activation_checkpointing.cpu_checkpointing"),
      .number_checkpoints = values.optional_integer("activation_checkpointing.number_checkpoints")};
  out.checkpoint = {.tag_validation = word(values, "checkpoint.tag_validation", tags),
                    .use_node_local_storage = values.boolean("checkpoint.use_node_local_storage")};
  if (!values.is_null("communication_data_type"))
    out.communication.dtype = word(values, "communication_data_type", precisions);
  out.communication.op =
      values.text("gradient_allreduce_op") == "sum" ? ReduceOp::sum : ReduceOp::mean;
  out.communication.prescale_gradients = values.boolean("prescale_gradients");
  out.communication.predivide_factor = values.number("gradient_predivide_factor");
  out.gradient_clipping = values.number("gradient_clipping");
  out.steps_per_print = values.optional_integer("steps_per_print").value_or(0);
  out.dataloader_drop_last = values.boolean("dataloader_drop_last");
  out.wall_clock_breakdown = values.boolean("wall_clock_breakdown");
  out.memory_breakdown = values.boolean("memory_breakdown");
  out.dump_state = values.boolean("dump_state");
  out.throughput_timer = values.boolean("timers.throughput.enabled");
  out.tensorboard = build_monitor(values, "tensorboard");
  out.csv_monitor = build_monitor(values, "csv_monitor");
  if (!values.is_null("log_level")) out.log_level = values.text("log_level");
  return out;
}

}  // namespace fathom::config
