// SPDX-License-Identifier: Apache-2.0
//
// StepProgram: one optimizer step (or inference sweep) as a list of operations. Pure.
//
// Purpose      The single description that the simulator times, the executor runs and the trace
//              shows, so that what `fathom plan` prints and what `fathom train` does can't differ.
// Dependencies `after` of an operation names earlier ones of the same pass (lag 0) or any of the
//              pass before (lag 1). Together with the order below they are complete: whatever else
//              runs when it can, no buffer is overwritten in use and nothing stale is read.
// Order        Operations of one of cpu, device, h2d, d2h, network run in list order, pass by pass.
//              Transfers (nvme_read, nvme_write) start as soon as what they come after is complete,
//              those of the next pass too.
// Who does it  nvme_read, nvme_write   the Swapper, by itself; it completes them.
//              cpu                     the engine thread, in place: it waits for all that the
//                                      operation comes after, computes, completes it.
//              device, h2d, d2h        three in-order streams. The engine thread waits only for
//                                      what the host does (nvme and cpu operations among `after`),
//                                      enqueues behind events of the operations of other streams
//                                      among `after`, and goes on; the operation is complete when
//                                      the stream has passed it (an event polled, or a host
//                                      callback), and that must reach the Swapper, since reads and
//                                      writes come after copies.
//              A pass ends when the engine thread has walked the list and the streams are idle;
//              transfers may still run. The list is ordered so that an engine thread that walks it
//              once keeps the streams fed while it updates on the CPU.
// Ranks        gather: `weights` becomes whole, from the partitions in `from` of all ranks. reduce
//              of network: the accumulator is summed over all ranks; a rank's own partition of it
//              is all it needs. Bytes are the unit's, whatever a transport does underneath.
// Units        Bytes are payload bytes that cross the operation's resource; FLOPs are multiply and
//              add counted separately.
//
// What the operations of a plan for cuda mean (the CPU's have fewer buffers):
//
//   fetch   nvme_read  W of a chunk into a staging slot, or its states into a ring slot, or block
//                      inputs into a host slot
//           d2h        W of a chunk that rests on the device into a staging slot, for an update
//                      on the CPU
//           h2d        block inputs back to the device
//   land    h2d        W of a chunk from staging slot or pinned host memory into the landing slot
//   forward, backward  device: all micro-batches; reads `weights` (and `tied_weights`), `carry_in`,
//                      writes `carry_out`; backward adds to `accumulator`, reads the gradient of
//                      the block's output in `carry_out`, and leaves that of its input in
//                      `carry_in`. The head's backward has no `carry_out`; it includes its forward
//                      and loss.
//   reduce  device     norm and check of the accumulator, rounded into `gradient`
//           d2h        a chunk's part of `gradient` to host memory
//   update  cpu|device a chunk: `weights`, `states`, `gradient` all in the memory of that resource
//   write   nvme_write as on the CPU
//           d2h        W of a chunk that was updated on the device to where it rests (pinned host
//                      memory) or to a staging slot on its way to nvme; block inputs to host memory
//           h2d        W of a chunk that was updated on the CPU to where it rests on the device
//
// A copy (h2d, d2h) moves `bytes` from buffer `from` at `from_offset` to `to` at `to_offset`; it
// needs nothing else.
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
  swap::ChunkId chunk = no_chunk;     // of fetch, update, write, land and reduce by chunks
  swap::SectionMask sections = 0;     // fetch, write, land: what moves; 0: block inputs, gradients
  BufferId weights = no_buffer;       // buffer that holds the unit's W (landing slot or pinned)
  BufferId tied_weights = no_buffer;  // backward of a tied head: where unit 0's W is
  BufferId widened = no_buffer;       // land, forward, backward: fp32 copy of W for compute
  BufferId states = no_buffer;        // ring slot of the chunk's streamed states
  std::uint64_t bytes = 0;
  double flops = 0;
  double elements = 0;  // update, land, reduce: elements passed over
  std::vector<swap::Dependency> after = {};
  // Copies (cuda), and the source of a gather: `weights` itself, or the partition at rest.
  BufferId from = no_buffer, to = no_buffer;
  // cuda only.
  std::uint64_t from_offset = 0, to_offset = 0;
  BufferId accumulator = no_buffer;                      // backward, reduce
  BufferId gradient = no_buffer;                         // reduce on the device, update
  BufferId carry_in = no_buffer, carry_out = no_buffer;  // forward, backward
  bool block_inputs = false;  // what moves is a block input: of `unit`, `chunk` its extent on nvme

  bool is_transfer() const {
    return resource == Resource::nvme_read || resource == Resource::nvme_write;
  }
  bool is_copy() const { return resource == Resource::h2d || resource == Resource::d2h; }
  // Enqueued by the engine thread, done by the device in its own time.
  bool on_stream() const { return is_copy() || resource == Resource::device; }
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
