// SPDX-License-Identifier: Apache-2.0
//
// Table, part 2: zero_optimization, its offload objects and the aio block.
#include <array>

#include "config/key.hpp"

namespace fathom::config {
namespace {

using enum Type;

constexpr std::string_view one_gather = "each unit is gathered in place by one call";
constexpr std::string_view no_zeropp = "ZeRO++ traffic is not offered; leave the key out";
constexpr std::string_view derived_ring =
    "ring slots follow from chunk sizes and the budgets; fathom.host_memory sets how much they may "
    "take";

constexpr auto rows = std::to_array<Key>({
    on("zero_optimization", object, "null"),
    on("zero_optimization.stage", integer, "0").at_least(0).at_most(3),
    idle("zero_optimization.contiguous_gradients", boolean, "true",
         "gradients always lie in one buffer"),
    idle("zero_optimization.reduce_scatter", boolean, "true",
         "stages 2 and 3 always reduce-scatter"),
    on("zero_optimization.reduce_bucket_size", elements, "500000000").at_least(0),
    idle("zero_optimization.allgather_partitions", boolean, "true",
         "partitions are always gathered"),
    on("zero_optimization.allgather_bucket_size", elements, "500000000").at_least(0),
    idle("zero_optimization.use_multi_rank_bucket_allreduce", boolean, "true",
         "each unit is reduced by one call"),
    on("zero_optimization.overlap_comm", boolean, "null"),
    on("zero_optimization.load_from_fp32_weights", boolean, "true"),
    idle("zero_optimization.elastic_checkpoint", boolean, "false",
         "any world size can resume a checkpoint"),
    on("zero_optimization.sub_group_size", elements, "16777216").at_least(0),
    on("zero_optimization.stage3_prefetch_bucket_size", elements, "50000000").at_least(0),
    on("zero_optimization.stage3_param_persistence_threshold", elements, "100000").at_least(0),
    on("zero_optimization.stage3_model_persistence_threshold", elements, "9223372036854775807")
        .at_least(0),
    on("zero_optimization.stage3_max_live_parameters", elements, "1000000000").at_least(0),
    idle("zero_optimization.stage3_max_reuse_distance", elements, "1000000000",
         "the plan knows the order of use and decides what stays")
        .at_least(0),
    on("zero_optimization.stage3_gather_16bit_weights_on_model_save", boolean, "false"),
    idle("zero_optimization.stage3_module_granularity_threshold", integer, "0",
         "units are whole blocks"),
    idle("zero_optimization.stage3_use_all_reduce_for_fetch_params", boolean, "false", one_gather),
    idle("zero_optimization.stage3_allgather_sequential", boolean, "false", one_gather),
    on("zero_optimization.ignore_unused_parameters", boolean, "true"),
    off("zero_optimization.legacy_stage1", boolean, "false",
        "the old stage 1 is gone; set \"stage\": 1"),
    idle("zero_optimization.round_robin_gradients", boolean, "false",
         "each rank copies only its own partition"),
    off("zero_optimization.zero_hpz_partition_size", integer, "1", no_zeropp),
    off("zero_optimization.zero_quantized_weights", boolean, "false", no_zeropp),
    off("zero_optimization.zero_quantized_nontrainable_weights", boolean, "false", no_zeropp),
    off("zero_optimization.zero_quantized_gradients", boolean, "false", no_zeropp),
    off("zero_optimization.zeropp_loco_param", anything, "null", no_zeropp),
    off("zero_optimization.mics_shard_size", integer, "-1",
        "MiCS is not offered; leave the key out"),
    off("zero_optimization.mics_hierarchical_params_gather", boolean, "false",
        "MiCS is not offered; leave the key out"),
    idle("zero_optimization.memory_efficient_linear", boolean, "true",
         "weights are views of the landing buffer"),
    idle("zero_optimization.pipeline_loading_checkpoint", boolean, "false",
         "there are no Python modules to load"),
    idle("zero_optimization.override_module_apply", boolean, "true",
         "there are no Python modules to patch"),
    idle("zero_optimization.log_trace_cache_warnings", boolean, "false",
         "no trace is recorded: the order of use is known beforehand"),
    on("zero_optimization.enable_sanity_checks", boolean, "false"),
    off("zero_optimization.save_muon_momentum_buffer_in_memory", boolean, "false",
        "the Muon optimizer is not offered; leave the key out"),
    on("zero_optimization.compute_grad_norm", boolean, "true"),
    idle("zero_optimization.parameter_alignment", boolean, "false",
         "every parameter is aligned to 256 bytes"),
    idle("zero_optimization.leaf_module", anything, "null", "units are whole blocks"),
    idle("zero_optimization.grad_hooks", boolean, "null", "no hooks are used"),

    on("zero_optimization.offload_param", object, "null"),
    on("zero_optimization.offload_param.device", choice, "\"none\"").one_of("none|cpu|nvme"),
    on("zero_optimization.offload_param.nvme_path", text, "null"),
    idle("zero_optimization.offload_param.buffer_count", integer, "5", derived_ring).at_least(0),
    idle("zero_optimization.offload_param.buffer_size", elements, "100000000", derived_ring)
        .at_least(0),
    on("zero_optimization.offload_param.max_in_cpu", elements, "1000000000").at_least(0),
    on("zero_optimization.offload_param.pin_memory", boolean, "true"),

    on("zero_optimization.offload_optimizer", object, "null"),
    on("zero_optimization.offload_optimizer.device", choice, "\"none\"").one_of("none|cpu|nvme"),
    on("zero_optimization.offload_optimizer.nvme_path", text, "null"),
    idle("zero_optimization.offload_optimizer.buffer_count", integer, "4", derived_ring)
        .at_least(0),
    on("zero_optimization.offload_optimizer.pin_memory", boolean, "true"),
    idle("zero_optimization.offload_optimizer.pipeline_read", boolean, "false",
         "reads always run ahead"),
    idle("zero_optimization.offload_optimizer.pipeline_write", boolean, "false",
         "writes always trail behind"),
    idle("zero_optimization.offload_optimizer.fast_init", boolean, "false",
         "states are written once, in one pass"),
    on("zero_optimization.offload_optimizer.ratio", number, "1.0").at_least(0).at_most(1),
    idle("zero_optimization.offload_optimizer.super_offload", boolean, "false",
         "an update that overlaps the backward pass is the normal schedule"),
    on("zero_optimization.offload_optimizer.cpuadam_cores_perc", number, "0.8").above(0).at_most(1),
    idle("zero_optimization.offload_optimizer.buffer_size", elements, "null", derived_ring)
        .at_least(0),
    idle("zero_optimization.offload_optimizer.pipeline", boolean, "null",
         "reads and writes always overlap the update (today's names are pipeline_read and "
         "pipeline_write)"),
    never("zero_optimization.zenflow", anything, "null",
          "updates with bounded staleness are not Adam; leave the key out"),

    on("aio", object, "null"),
    on("aio.block_size", integer, "1048576").at_least(4096).at_most(1 << 30),
    on("aio.queue_depth", integer, "8").at_least(1).at_most(65536),
    on("aio.intra_op_parallelism", integer, "1").at_least(1).at_most(1024),
    on("aio.single_submit", boolean, "false"),
    on("aio.overlap_events", boolean, "true"),
    on("aio.use_gds", boolean, "false"),  // the engine says what there is
});

}  // namespace

std::span<const Key> zero_keys() { return rows; }

}  // namespace fathom::config
