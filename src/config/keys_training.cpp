// SPDX-License-Identifier: Apache-2.0
//
// Table, part 1: batch, precision, optimizer and scheduler.
#include <array>

#include "config/key.hpp"

namespace fathom::config {
namespace {

using enum Type;

constexpr std::string_view adam = "Adam|AdamW";
constexpr std::string_view every = "Adam|AdamW|Lion|Adagrad|SGD|Lamb";
constexpr std::string_view with_betas = "Adam|AdamW|Lion|Lamb";
constexpr std::string_view with_correction = "Adam|AdamW|Lamb";
constexpr std::string_view warm = "WarmupLR|WarmupDecayLR";
constexpr std::string_view warms = "WarmupLR|WarmupDecayLR|WarmupCosineLR";
constexpr std::string_view cycle = "OneCycle";
constexpr std::string_view dtypes = "fp32|fp16|bf16";

constexpr auto rows = std::to_array<Key>({
    on("train_batch_size", integer, "null").at_least(1),
    on("train_micro_batch_size_per_gpu", integer, "null").at_least(1),
    on("gradient_accumulation_steps", integer, "null").at_least(1),
    off("managed_gradient_accumulation", boolean, "true",
        "the engine owns the accumulation schedule; set gradient_accumulation_steps"),
    on("gradient_clipping", number, "1.0").at_least(0),
    on("communication_data_type", choice, "null").one_of(dtypes),
    off("seq_parallel_communication_data_type", choice, "\"fp32\"",
        "there is no sequence parallelism; leave the key out")
        .one_of(dtypes),
    on("prescale_gradients", boolean, "false"),
    on("gradient_predivide_factor", number, "1.0").above(0),
    on("gradient_allreduce_op", any_case, "\"mean\"").one_of("mean|sum"),
    off("sparse_gradients", boolean, "false", "units are dense; leave the key out"),
    off("disable_allgather", boolean, "false", "it is a legacy switch; leave the key out"),
    off("graph_harvesting", boolean, "false", "no graphs are captured; leave the key out"),
    off("use_data_before_expert_parallelism", boolean, "false",
        "there is no expert parallelism; leave the key out"),
    on("sequence_parallel_size", integer, "null").at_least(1),
    on("data_parallel_size", integer, "null").at_least(1),
    idle("disable_python_gc", boolean, "false", "there is no Python here"),
    idle("zero_allow_untested_optimizer", boolean, "false", "the list of optimizers is closed"),
    idle("zero_force_ds_cpu_optimizer", boolean, "true",
         "offloaded states are always updated by Fathom's own CPU kernels"),
    on("dataloader_drop_last", boolean, "false"),
    idle("vocabulary_size", integer, "null", "it is taken from the model"),

    on("fp16", object, "null"),
    on("fp16.enabled", boolean, "false"),
    on("fp16.auto_cast", boolean, "false"),
    on("fp16.loss_scale", number, "0").at_least(0),
    on("fp16.initial_scale_power", integer, "16").at_least(0).at_most(126),
    on("fp16.loss_scale_window", integer, "1000").at_least(1),
    on("fp16.hysteresis", integer, "2").at_least(0),
    on("fp16.consecutive_hysteresis", boolean, "false"),
    on("fp16.min_loss_scale", integer, "1").at_least(1),
    idle("fp16.fp16_master_weights_and_grads", boolean, "false", "the master weights stay fp32"),
    on("bf16", object, "null"),
    on("bf16.enabled", boolean, "false"),
    idle("bf16.immediate_grad_update", boolean, "false",
         "gradients are always accumulated as they appear"),
    on("bf16.check_grad_overflow", boolean, "true"),
    idle("bf16.bf16_master_weights_and_grads", boolean, "false",
         "the split master holds no second copy of the weights, so it stays exact"),
    idle("bf16.bf16_optimizer_states", boolean, "false", "optimizer states stay fp32"),
    off("amp", block, "null", "NVIDIA Apex is not used; enable bf16 instead"),
    off("torch_autocast", block, "null", "the compute type is fixed per run; enable bf16 instead"),
    on("data_types", object, "null"),
    on("data_types.grad_accum_dtype", choice, "\"fp32\"").one_of(dtypes),
    on("data_types.param_dtype", choice, "null").one_of(dtypes),
    on("data_types.buffer_dtype", choice, "null").one_of(dtypes),
    on("data_types.keep_in_fp32_modules", texts, "\"auto\""),

    on("optimizer", object, "null"),
    on("optimizer.type", any_case, "null")
        .one_of("Adam|AdamW|Lion|Adagrad|SGD|Lamb|OneBitAdam|ZeroOneAdam|OneBitLamb|Muon|MuAdam|"
                "MuAdamW|MuSGD"),
    idle("optimizer.legacy_fusion", boolean, "false", "there is one update kernel"),
    on("optimizer.params", object, "null"),
    on("optimizer.params.lr", number, "1e-3").at_least(0).only_for("Adam|AdamW|Lion|SGD|Lamb"),
    on("optimizer.params.lr", number, "1e-2").at_least(0).only_for("Adagrad"),
    on("optimizer.params.betas", pair, "[0.9, 0.999]").at_least(0).below(1).only_for(with_betas),
    on("optimizer.params.eps", number, "1e-8").above(0).only_for(with_correction),
    on("optimizer.params.eps", number, "1e-10").above(0).only_for("Adagrad"),
    on("optimizer.params.weight_decay", number, "0.0").at_least(0).only_for(every),
    on("optimizer.params.bias_correction", boolean, "true").only_for(with_correction),
    on("optimizer.params.adam_w_mode", boolean, "true").only_for(adam),
    on("optimizer.params.fp32_optimizer_states", boolean, "true").only_for("Adam|AdamW|Lion"),
    on("optimizer.params.momentum", number, "0.0").at_least(0).only_for("SGD"),
    on("optimizer.params.dampening", number, "0.0").at_least(0).only_for("SGD"),
    on("optimizer.params.nesterov", boolean, "false").only_for("SGD"),
    on("optimizer.params.eps_inside_sqrt", boolean, "false").only_for("Lamb"),
    on("optimizer.params.max_coeff", number, "10.0").above(0).only_for("Lamb"),
    on("optimizer.params.min_coeff", number, "0.01").at_least(0).only_for("Lamb"),
    never("optimizer.params.amsgrad", boolean, "false",
          "amsgrad needs a third state that is not kept; set it to false")
        .only_for("Adam|AdamW|Adagrad|Lamb"),
    idle("optimizer.params.torch_adam", boolean, "false", "there is one update kernel")
        .only_for(adam),
    idle("optimizer.params.set_grad_none", boolean, "true",
         "gradients live in the engine's own buffers")
        .only_for(adam),
    never("optimizer.params.max_grad_norm", number, "null",
          "clipping is not the optimizer's; set gradient_clipping at the top level")
        .only_for("Adam|AdamW|Lion|Adagrad|SGD"),
    never("optimizer.params.max_grad_norm", number, "0.0",
          "clipping is not the optimizer's; set gradient_clipping at the top level")
        .only_for("Lamb"),

    on("scheduler", object, "null"),
    on("scheduler.type", choice, "null")
        .one_of("WarmupLR|WarmupDecayLR|WarmupCosineLR|LRRangeTest|OneCycle"),
    on("scheduler.params", object, "null"),
    on("scheduler.params.last_batch_iteration", integer, "-1")
        .at_least(-1)
        .only_for("WarmupLR|WarmupDecayLR|WarmupCosineLR|LRRangeTest|OneCycle"),
    on("scheduler.params.warmup_min_lr", number, "0.0").at_least(0).only_for(warm),
    on("scheduler.params.warmup_max_lr", number, "null").at_least(0).only_for("WarmupLR"),
    on("scheduler.params.warmup_max_lr", number, "0.001").at_least(0).only_for("WarmupDecayLR"),
    on("scheduler.params.warmup_num_steps", integer, "1000").at_least(1).only_for(warms),
    on("scheduler.params.warmup_type", choice, "\"log\"").one_of("log|linear").only_for(warms),
    on("scheduler.params.total_num_steps", integer, "null")
        .at_least(1)
        .only_for("WarmupDecayLR|WarmupCosineLR"),
    on("scheduler.params.warmup_min_ratio", number, "0.0").at_least(0).only_for("WarmupCosineLR"),
    on("scheduler.params.cos_min_ratio", number, "1e-4").at_least(0).only_for("WarmupCosineLR"),
    on("scheduler.params.lr_range_test_min_lr", number, "1e-3").at_least(0).only_for("LRRangeTest"),
    on("scheduler.params.lr_range_test_step_size", integer, "2000")
        .at_least(1)
        .only_for("LRRangeTest"),
    on("scheduler.params.lr_range_test_step_rate", number, "1.0")
        .at_least(0)
        .only_for("LRRangeTest"),
    on("scheduler.params.lr_range_test_staircase", boolean, "false").only_for("LRRangeTest"),
    on("scheduler.params.cycle_min_lr", per_group, "null").at_least(0).only_for(cycle),
    on("scheduler.params.cycle_max_lr", per_group, "null").at_least(0).only_for(cycle),
    on("scheduler.params.decay_lr_rate", number, "0.0").at_least(0).only_for(cycle),
    on("scheduler.params.cycle_first_step_size", integer, "2000").at_least(1).only_for(cycle),
    on("scheduler.params.cycle_second_step_size", integer, "null").at_least(0).only_for(cycle),
    on("scheduler.params.cycle_first_stair_count", integer, "0").at_least(0).only_for(cycle),
    on("scheduler.params.cycle_second_stair_count", integer, "null").at_least(0).only_for(cycle),
    on("scheduler.params.decay_step_size", integer, "0").at_least(0).only_for(cycle),
    on("scheduler.params.cycle_momentum", boolean, "true").only_for(cycle),
    on("scheduler.params.cycle_min_mom", per_group, "0.8").at_least(0).below(1).only_for(cycle),
    on("scheduler.params.cycle_max_mom", per_group, "0.9").at_least(0).below(1).only_for(cycle),
    on("scheduler.params.decay_mom_rate", number, "0.0").at_least(0).only_for(cycle),
});

}  // namespace

std::span<const Key> training_keys() { return rows; }

}  // namespace fathom::config
