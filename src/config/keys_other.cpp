// SPDX-License-Identifier: Apache-2.0
//
// Table, part 3: the fathom object, logging, checkpoints, monitors, and blocks that must be off.
#include <array>

#include "config/key.hpp"

namespace fathom::config {
namespace {

using enum Type;

constexpr std::string_view one_writer = "there is one checkpoint writer";
constexpr std::string_view formula = "the profile comes from the model's formula, not from modules";
constexpr std::string_view no_network = "there is no network client; leave the block out";
constexpr std::string_view no_schedule = "it is not offered; leave the block out";

constexpr auto rows = std::to_array<Key>({
    on("fathom", object, "null"),
    on("fathom.device_memory", size, "\"auto\""),
    on("fathom.host_memory", size, "\"auto\""),
    on("fathom.nvme_paths", paths, "[]"),
    on("fathom.store", choice, "\"scratch\"").one_of("scratch|durable"),
    on("fathom.commit_interval", integer, "1").at_least(1),
    on("fathom.verify", choice, "\"full\"").one_of("full|sampled|off"),
    on("fathom.engine", choice, "\"auto\"").one_of("auto|io_uring|libaio|posix"),
    on("fathom.activation_tier", choice, "\"auto\"").one_of("auto|device|host|nvme"),
    on("fathom.state_format", choice, "\"exact\"").one_of("exact"),
    on("fathom.parity", boolean, "false"),

    on("steps_per_print", integer, "null").at_least(1),
    on("dump_state", boolean, "false"),
    on("wall_clock_breakdown", boolean, "false"),
    on("memory_breakdown", boolean, "false"),
    on("log_level", choice, "null").one_of("debug|info|warning|error|critical"),

    on("activation_checkpointing", object, "null"),
    idle("activation_checkpointing.partition_activations", boolean, "false",
         "there is no model parallelism"),
    on("activation_checkpointing.cpu_checkpointing", boolean, "false"),
    on("activation_checkpointing.number_checkpoints", integer, "null").at_least(1),
    idle("activation_checkpointing.contiguous_memory_optimization", boolean, "false",
         "block inputs lie in the arena"),
    idle("activation_checkpointing.synchronize_checkpoint_boundary", boolean, "false",
         "use wall_clock_breakdown or --trace"),
    idle("activation_checkpointing.profile", boolean, "false",
         "use wall_clock_breakdown or --trace"),

    on("checkpoint", object, "null"),
    on("checkpoint.tag_validation", any_case, "\"Warn\"").one_of("Warn|Ignore|Fail"),
    off("checkpoint.load_universal", boolean, "false",
        "pickled checkpoints are not read; convert them to safetensors"),
    on("checkpoint.use_node_local_storage", boolean, "false"),
    on("checkpoint.parallel_write", object, "null"),
    idle("checkpoint.parallel_write.pipeline_stage", boolean, "false",
         "there are no pipeline stages"),
    idle("checkpoint.checkpoint_serialization", boolean, "true", one_writer),
    idle("checkpoint.writer", anything, "null", one_writer),

    on("tensorboard", object, "null"),
    on("tensorboard.enabled", boolean, "false"),
    on("tensorboard.output_path", text, "\"\""),
    on("tensorboard.job_name", text, "\"DeepSpeedJobName\""),
    on("csv_monitor", object, "null"),
    on("csv_monitor.enabled", boolean, "false"),
    on("csv_monitor.output_path", text, "\"\""),
    on("csv_monitor.job_name", text, "\"DeepSpeedJobName\""),
    off("wandb", block, "null", no_network),
    off("comet", block, "null", no_network),

    on("flops_profiler", object, "null"),
    on("flops_profiler.enabled", boolean, "false"),
    on("flops_profiler.profile_step", integer, "1").at_least(1),
    on("flops_profiler.output_file", text, "null"),
    idle("flops_profiler.recompute_fwd_factor", number, "0.0", formula),
    idle("flops_profiler.module_depth", integer, "-1", formula),
    idle("flops_profiler.top_modules", integer, "1", formula),
    idle("flops_profiler.detailed", boolean, "true", formula),
    on("timers", object, "null"),
    on("timers.throughput", object, "null"),
    on("timers.throughput.enabled", boolean, "true"),
    idle("timers.throughput.synchronized", boolean, "true",
         "times come from device events and need no synchronisation"),
    on("comms_logger", object, "null"),
    on("comms_logger.enabled", boolean, "false"),
    idle("comms_logger.verbose", boolean, "false", "one summary per collective is kept"),
    idle("comms_logger.prof_all", boolean, "true", "every collective is counted"),
    idle("comms_logger.debug", boolean, "false", "one summary per collective is kept"),
    idle("comms_logger.prof_ops", texts, "[]", "every collective is counted"),

    on("weight_quantization", anything, "null"),
    off("autotuning", block, "null", "use `fathom plan` and `aio_bench`"),
    off("elasticity", block, "null", "any world size can resume; set the batch sizes"),
    off("hybrid_engine", block, "null", no_schedule),
    off("compile", block, "null", "blocks are compiled already; leave the block out")
        .switched_by("enabled|deepcompile"),
    off("pipeline", block, "null", "there is no pipeline parallelism; leave the block out"),
    off("tensor_parallel", block, "null", "there is no tensor parallelism; leave the block out")
        .switched_by("enabled|autotp_size"),
    off("expert_parallel", block, "null", "there is no expert parallelism; leave the block out")
        .switched_by("enabled|autoep_size"),
    off("curriculum_learning", block, "null", no_schedule),
    off("data_efficiency", block, "null", no_schedule),
    off("progressive_layer_drop", block, "null", no_schedule),
    off("eigenvalue", block, "null", no_schedule),
    off("compression_training", block, "null", no_schedule),
    off("sparse_attention", block, "null", no_schedule),
    off("quantize_training", block, "null", no_schedule),
    off("nebula", block, "null", "checkpoints go to the file system; leave the block out"),
    off("datastates_ckpt", block, "null", "checkpoints go to the file system; leave the block out"),
});

}  // namespace

std::span<const Key> other_keys() { return rows; }

}  // namespace fathom::config
