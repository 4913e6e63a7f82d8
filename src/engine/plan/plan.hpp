// SPDX-License-Identifier: Apache-2.0
//
// Plan: placement, buffers, programs and predictions, decided once before the first byte moves.
// Pure.
//
// Purpose      make_plan turns model, batch, budgets and measured rates into everything the
// executor
//              needs; the same inputs give the same plan. Nothing is allocated.
// Placement    Mandatory first (landing slots, rings, gradients, block inputs, working memory),
// then by
//              seconds saved per byte: W (two reads and a write per step), then optimizer states,
//              into host memory as far as the budget goes; the rest on nvme. (bytes.md §4)
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
enum class Tier : std::uint8_t { host, nvme };
enum class ComputeType : std::uint8_t { fp32, bf16, fp16 };
const char* to_string(ComputeType type);

// What the machine does, in bytes, FLOPs and elements per second. One direction at a time; `duplex`
// is phi of bytes.md §8: 0 shares one budget between reads and writes, 1 is full duplex.
struct Rates {
  double read = 2e9, write = 2e9, duplex = 0.2;
  double flops = 1e11;
  double update = 1e9;   // elements per second of the fused optimizer update
  double convert = 2e9;  // elements per second of widening, reducing
};

struct PlanInput {
  models::ModelSpec model;
  Mode mode = Mode::train;
  swap::SectionBytes sections = swap::split_bf16_sections;
  ComputeType compute = ComputeType::bf16;
  bool widen = false;                // compute is fp32, W is bf16: landed weights are widened
  std::uint64_t gradient_bytes = 2;  // per element of a gradient at rest in host memory
  std::uint64_t micro_batch = 1, accumulation = 1, length = 128;
  std::uint64_t logit_rows = 0;  // inference: rows of logits wanted at once (0: all)
  bool lazy = true;              // clipping: no update before the global norm is known
  Tier weights_lowest = Tier::nvme, states_lowest = Tier::nvme;
  std::optional<std::uint64_t> host_memory;  // the budget; nullopt: no limit
  std::uint64_t fixed_bytes = 0;             // host memory already promised (tokens, KV cache, …)
  std::uint64_t chunk_elements = 16 * MiB;
  std::uint32_t landing_slots = 0, ring_slots = 0;  // 0: chosen
  std::vector<double> path_weights = {1.0};
  Rates rates;
  std::uint32_t world = 1;
  std::uint32_t threads = 1;  // of the compute library; some of its scratch memory grows with them

  std::uint64_t compute_bytes() const { return compute == ComputeType::fp32 ? 4 : 2; }
};

enum class BufferKind : std::uint8_t {
  pinned_weights,
  pinned_states,
  landing,
  widened,
  ring,
  accumulator,
  gradient,
  block_input
};
const char* to_string(BufferKind kind);

struct Buffer {
  BufferKind kind = BufferKind::landing;
  std::uint32_t unit = 0;               // owner, or the unit it was sized for
  std::uint64_t offset = 0, bytes = 0;  // in the arena
};

struct UnitPlan {
  FlatUnit flat;
  bool weights_on_nvme = false;
  bool lazy = false;                    // updated at the next pass's forward
  BufferId pinned_weights = no_buffer;  // W of the whole unit, when it lives in host memory
  BufferId accumulator = no_buffer;     // fp32 gradient sums while its backward runs
  BufferId gradient = no_buffer;        // the gradient at rest
  std::vector<BufferId> inputs;         // block input of each micro-batch; empty for unit 0
};

struct ChunkPlan {
  swap::SectionMask streamed = 0;      // states on nvme
  BufferId pinned_states = no_buffer;  // the others, each padded, in the order lo | m | v
};

struct StepBytes {
  std::uint64_t nvme_read = 0, nvme_write = 0, h2d = 0, d2h = 0, network = 0;
};

struct Prediction {
  double seconds = 0;              // of one steady step or sweep, from the simulator
  double lower_bound_seconds = 0;  // bytes.md §8
  std::string bound_by;            // the resource that sets it
  StepBytes bytes;                 // of one steady step
  std::uint64_t peak_host = 0;     // arena + working memory + fixed
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
  // train: first pass (no update pending), every further pass, and what applies pending updates at
  // the end. inference: steady only.
  StepProgram first, steady, flush;
  Prediction prediction;

  std::uint64_t bytes_on_nvme() const;
  std::uint64_t bytes_of(BufferKind kind) const;
  std::uint64_t pinned_bytes(
      swap::SectionMask set) const;  // payload of these sections in host memory
};

// Errors: bad_config when no plan fits the budget; the message names the smallest that would, and
// which key to change. `fixed_chunks`: chunks of exactly input.chunk_elements, because a durable
// store has them already.
Result<Plan> make_plan(const PlanInput& input, bool fixed_chunks = false);

}  // namespace fathom::engine
