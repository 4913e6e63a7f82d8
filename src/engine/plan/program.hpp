// SPDX-License-Identifier: Apache-2.0
//
// StepProgram: one optimizer step (or inference sweep) as a list of operations. Pure.
//
// Purpose      The single description that the simulator times, the executor runs and the trace
// shows,
//              so that what `fathom plan` prints and what `fathom train` does can't differ.
// Order        Operations of resource cpu run in list order on the engine's thread. Transfers
//              (nvme_read, nvme_write) start as soon as what they come after is complete. A
//              dependency with lag 1 refers to the pass before.
// Units        Bytes are payload bytes that cross the operation's resource; FLOPs are multiply and
// add
//              counted separately.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "swap/section.hpp"
#include "swap/swapper.hpp"

namespace fathom::engine {

enum class OpKind : std::uint8_t { fetch, land, gather, forward, backward, reduce, update, write };
enum class Resource : std::uint8_t { nvme_read, nvme_write, h2d, d2h, cpu, device, network };
inline constexpr std::size_t resource_count = 7;
const char* to_string(OpKind kind);
const char* to_string(Resource resource);

using BufferId = std::uint32_t;
inline constexpr BufferId no_buffer = 0xFFFFFFFF;
inline constexpr swap::ChunkId no_chunk = 0xFFFFFFFF;

using OpId = swap::NodeId;

struct Op {
  OpKind kind = OpKind::forward;
  Resource resource = Resource::cpu;
  std::uint32_t unit = 0;
  swap::ChunkId chunk = no_chunk;     // fetch, update, write
  swap::SectionMask sections = 0;     // fetch, write
  BufferId weights = no_buffer;       // buffer that holds the unit's W (landing slot or pinned)
  BufferId tied_weights = no_buffer;  // backward of a tied head: where unit 0's W is
  BufferId widened = no_buffer;       // land, forward, backward: fp32 copy of W for compute
  BufferId states = no_buffer;        // ring slot of the chunk's streamed states
  std::uint64_t bytes = 0;
  double flops = 0;
  double elements = 0;  // update, land, reduce: elements passed over
  std::vector<swap::Dependency> after = {};

  bool is_transfer() const {
    return resource == Resource::nvme_read || resource == Resource::nvme_write;
  }
};

struct StepProgram {
  std::vector<Op> ops;
  bool empty() const { return ops.empty(); }
  bool has_transfers() const;
  std::uint64_t bytes(Resource resource) const;  // per pass
  double flops() const;
  double updated_elements() const;
};

// "fetch W layers.3", for the trace and messages.
std::string label(const Op& op, const std::vector<std::string>& unit_names);

}  // namespace fathom::engine
