// SPDX-License-Identifier: Apache-2.0
//
// Plan: placement, buffers, programs and predictions, decided once before the first byte moves.
// Pure.
//
// Purpose      make_plan turns model, batch, budgets and measured rates into everything the
// executor
//              needs; the same inputs give the same plan. Nothing is allocated.
// Tiers        With the device cpu, host memory is the only memory (Tier::device means host). With
//              cuda, W of each unit and the states of each chunk lie on the device, in pinned host
//              memory or on nvme; a chunk is updated where its states are: on the device, or by
//              the CPU (states in host memory or on nvme).
// Placement    Mandatory first (landing slots, rings, gradients, block inputs, working memory),
//              then by seconds saved per byte: W (two reads and a write per step), then optimizer
//              states, as far as the budgets go; the rest on nvme. (bytes.md §4)
// Ownership    A value; holds copies of what it was made from.
// Units        Bytes, elements, seconds.
//
//   FATHOM_ASSIGN(Plan plan, make_plan(input));
//   plan.steady.ops …; plan.prediction.seconds …
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "engine/plan/flat_unit.hpp"
#include "engine/plan/program.hpp"
#include "models/spec.hpp"
#include "swap/layout.hpp"

namespace fathom::engine {

enum class Mode : std::uint8_t { train, inference };
enum class Tier : std::uint8_t { device, host, nvme };  // from fast to large
const char* to_string(Tier tier);
enum class DeviceKind : std::uint8_t { cpu, cuda };
const char* to_string(DeviceKind device);
enum class ComputeType : std::uint8_t { fp32, bf16, fp16 };
const char* to_string(ComputeType type);

// What the machine does, in bytes, FLOPs and elements per second. One direction at a time; `duplex`
// is phi of bytes.md §8: 0 shares one budget between reads and writes, 1 is full duplex.
struct Rates {
  double read = 2e9, write = 2e9, duplex = 0.2;
  double flops = 1e11;    // of the device that computes
  double update = 1e9;    // elements per second of the fused optimizer update on the CPU
  double convert = 2e9;   // elements per second of widening, reducing on the CPU
  double latency = 2e-4;  // seconds of one nvme transfer beyond its bytes
  double dram = 0;        // bytes per second of host memory, all traffic together; 0: not known
  // Device cuda only.
  double h2d = 50e9, d2h = 50e9;  // PCIe, each direction alone; they do not share
  double copy_latency = 1e-5;     // seconds of one copy beyond its bytes
  double device_update = 8e10;    // elements per second of the fused update on the device
  double device_convert = 2e11;   // elements per second of reducing on the device
  double network = 1e10;          // bytes per second of a collective, counted as in program.hpp
};

struct PlanInput {
  models::ModelSpec model;
  Mode mode = Mode::train;
  swap::SectionBytes sections = swap::split_bf16_sections;
  ComputeType compute = ComputeType::bf16;
  bool widen = false;                // compute is fp32, W is bf16: landed weights are widened
  std::uint64_t gradient_bytes = 2;  // per element of a gradient at rest in host memory
  std::uint64_t micro_batch = 1, accumulation = 1, length = 128;
  std::uint64_t target_length = 0;  // of the decoder in encoder-decoder models
  std::uint64_t logit_rows = 0;     // inference: rows of logits wanted at once (0: all)
  bool lazy = true;                 // clipping: no update before the global norm is known
  Tier weights_lowest = Tier::nvme, states_lowest = Tier::nvme;
  DeviceKind device = DeviceKind::cpu;
  std::optional<std::uint64_t> device_memory;  // cuda: the budget of device memory
  std::uint64_t device_fixed_bytes = 0;        // device memory already promised (KV cache, …)
  std::optional<Tier> activation_tier;         // cuda: of all block inputs; nullopt: by plan
  std::optional<std::uint64_t> host_memory;    // the budget; nullopt: no limit
  std::uint64_t fixed_bytes = 0;               // host memory already promised (tokens, KV cache, …)
  std::uint64_t chunk_elements = 16 * MiB;
  std::uint32_t landing_slots = 0, ring_slots = 0;  // 0: chosen
  std::vector<double> path_weights = {1.0};
  Rates rates;
  // ZeRO: `rank` of `world` plans for itself. Stage 1 and 2 cut lo, m, v and the gradient at rest
  // into a partition a rank, 3 also W; 0 repeats everything on every rank.
  std::uint32_t world = 1, rank = 0;
  int stage = 3;
  ComputeType reduce = ComputeType::fp32;  // what gradients are reduced over the ranks in
  std::uint32_t threads = 1;  // of the compute library; some of its scratch memory grows with them

  std::uint64_t compute_bytes() const { return compute == ComputeType::fp32 ? 4 : 2; }
  std::uint64_t reduce_bytes() const { return reduce == ComputeType::fp32 ? 4 : 2; }
  bool on_cuda() const { return device == DeviceKind::cuda; }
  std::uint32_t partitions() const { return stage == 0 || on_cuda() ? 1 : world; }
  bool partitions_weights() const { return stage == 3 && partitions() > 1; }
  // The lowest tiers allowed, where the CPU has no tier above host memory.
  Tier lowest_weights() const { return on_cuda() ? weights_lowest : max_host(weights_lowest); }
  Tier lowest_states() const { return on_cuda() ? states_lowest : max_host(states_lowest); }

 private:
  static Tier max_host(Tier tier) { return tier == Tier::nvme ? Tier::nvme : Tier::host; }
};

enum class BufferKind : std::uint8_t {
  pinned_weights,
  pinned_states,
  landing,
  widened,
  ring,
  accumulator,
  gradient,
  block_input,
  staging,  // cuda: chunks of W on their way through pinned host memory
  carry,    // cuda: block inputs on the device of units whose own rest elsewhere
  network   // gradients of a unit, narrowed to be reduced
};
const char* to_string(BufferKind kind);

struct Buffer {
  BufferKind kind = BufferKind::landing;
  std::uint32_t unit = 0;               // owner, or the unit it was sized for
  std::uint64_t offset = 0, bytes = 0;  // in the arena of its tier
  Tier tier = Tier::host;               // device or host
};

struct UnitPlan {
  FlatUnit flat;
  // This rank's partition: these elements of the flat run.
  std::uint64_t partition_first = 0, partition_elements = 0;
  bool weights_on_nvme = false;
  bool weights_on_device = false;  // cuda: neither landed nor brought back for compute
  bool lazy = false;               // updated at the next pass's forward
  // W when it does not live on nvme: the partition's where W is partitioned, else the unit's.
  BufferId pinned_weights = no_buffer;
  BufferId accumulator = no_buffer;  // fp32 gradient sums while its backward runs
  BufferId gradient = no_buffer;     // the partition's gradient at rest in host memory
  // What the unit before hands on, of each micro-batch (carry_layout.hpp); empty for unit 0.
  std::vector<BufferId> inputs;
  // cuda: the gradient of a lazy unit with a chunk that is updated on the device.
  BufferId device_gradient = no_buffer;
  // cuda: where its block inputs rest, and (device, host) the buffer: those of all micro-batches,
  // Plan::input_stride apart. `inputs` is empty.
  Tier inputs_tier = Tier::device;
  BufferId resting_inputs = no_buffer;
  std::uint32_t input_extents = 0;  // nvme: the layout's unit that stores them as W; 0: none

  Tier weights() const {
    return weights_on_device ? Tier::device : weights_on_nvme ? Tier::nvme : Tier::host;
  }
};

struct ChunkPlan {
  swap::SectionMask streamed = 0;      // states on nvme
  BufferId pinned_states = no_buffer;  // the others, each padded, in the order lo | m | v
  bool states_on_device = false;       // cuda: the chunk is updated on the device
};

struct StepBytes {
  std::uint64_t nvme_read = 0, nvme_write = 0, h2d = 0, d2h = 0, network = 0;
};

// The terms of bytes.md §8: seconds that each resource needs for one steady step by itself.
struct ResourceSeconds {
  double device = 0;  // compute and updates on the device (cuda)
  double cpu = 0;     // updates on the CPU; with the device cpu, compute as well
  double nvme = 0, nvme_read = 0, nvme_write = 0;  // nvme: both together, sharing by `duplex`
  double h2d = 0, d2h = 0;                         // PCIe
  double dram = 0;                                 // 0 when Rates::dram is not known
  double network = 0;
  // What forward needs and what backward needs one after the other, updates with one of them: with
  // clipping none begins before backward ends (bytes.md §8, lazy).
  double schedule = 0;
  // One unit read before, one updated and written after: a single step's, overlapped when steps
  // follow each other, so no part of the bound of a steady step.
  double fill = 0;
};

struct Prediction {
  double seconds = 0;              // of one steady step or sweep, from the simulator
  double lower_bound_seconds = 0;  // the largest of `terms` but for fill (bytes.md §8)
  std::string bound_by;            // which: device, cpu, nvme, h2d, d2h, dram, network, schedule
  StepBytes bytes;                 // of one steady step
  std::uint64_t peak_host = 0;     // arena + working memory + fixed
  std::uint64_t peak_device = 0;   // cuda: the same of device memory
  ResourceSeconds terms;
};

struct Plan {
  PlanInput input;
  std::vector<UnitPlan> units;
  std::vector<ChunkPlan> chunks;
  swap::Layout layout;
  std::vector<Buffer> buffers;
  std::uint64_t arena_bytes = 0, activation_bytes = 0;
  std::uint32_t landing_slots = 0, ring_slots = 0;
  std::uint64_t smallest_host_memory = 0;  // the smallest budget this model and batch can run with
  // cuda: device buffers; `activation_bytes` is device memory then.
  std::uint64_t device_arena_bytes = 0, smallest_device_memory = 0;
  std::uint32_t staging_slots = 0;
  std::uint64_t input_stride = 0;  // bytes of one micro-batch's block input, padded
  // train: first pass (no update pending), every further pass, and what applies pending updates at
  // the end; `evaluation`: the forward pass and the loss, when nothing is pending. inference:
  // steady only.
  StepProgram first, steady, flush, evaluation;
  // Inference of encoder-decoder models: a sweep that leaves the encoder out.
  StepProgram decode;
  Prediction prediction;

  std::uint64_t bytes_on_nvme() const;
  // The chunk's first element in its unit's flat run.
  std::uint64_t first_element(swap::ChunkId chunk) const {
    const swap::Chunk& cut = layout.chunk(chunk);
    return cut.unit < units.size() ? units[cut.unit].partition_first + cut.first : cut.first;
  }
  std::uint64_t bytes_of(BufferKind kind) const;  // in both tiers
  std::uint64_t bytes_of(BufferKind kind, Tier tier) const;
  // Bytes from the start of a buffer that holds W (of a whole unit, of a partition, or a staging
  // slot with one chunk) to the W of `chunk`.
  std::uint64_t weights_offset(BufferId buffer, swap::ChunkId chunk) const;
  std::uint64_t pinned_bytes(
      swap::SectionMask set) const;  // payload of these sections in memory, of either tier
  std::uint64_t resident_bytes(swap::SectionMask set, Tier tier) const;  // in that tier
};

// Errors: bad_config when no plan fits the budget; the message names the smallest that would, and
// which key to change. `fixed_chunks`: chunks of exactly input.chunk_elements, because a durable
// store has them already.
Result<Plan> make_plan(const PlanInput& input, bool fixed_chunks = false);

}  // namespace fathom::engine
