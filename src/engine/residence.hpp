// SPDX-License-Identifier: Apache-2.0
//
// Residence: the memory and files that a plan decided on, and where each section is in them.
//
// Purpose      Allocates the arena and creates the store before step 0, then answers with
// addresses.
//              Between programs (loading, checkpoints, export) `visit` brings any chunk's sections
//              into memory one chunk at a time.
// Ownership    Owns arena and store. Addresses are valid as long as it lives.
// Threads      Addresses may be computed from any thread; visit and store_chunk from one at a time,
// and
//              never while a program runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "aio/arena.hpp"
#include "base/thread_pool.hpp"
#include "engine/cuda/device_memory.hpp"
#include "engine/plan/plan.hpp"
#include "swap/store.hpp"

namespace fathom::engine {

// Where the sections of one chunk are right now. Null: the format has no such section.
struct ChunkView {
  std::byte* weights = nullptr;  // 2 or 4 bytes an element
  std::uint16_t* low = nullptr;  // of a split master
  float* m = nullptr;
  float* v = nullptr;
  std::uint64_t elements = 0;
  // Where lo holds the whole fp32 master (fp16 training).
  float* master() const { return reinterpret_cast<float*>(low); }
};

class Residence {
 public:
  // `plan` must outlive the Residence. Errors: no space, no memory, the directory's own.
  // `queues`: the caller's, one per path, instead of opened ones; fault injection uses it.
  static Result<std::unique_ptr<Residence>> create(
      const Plan& plan, const swap::StoreOptions& options, ThreadPool& pool,
      std::vector<std::unique_ptr<aio::Queue>> queues = {});

  const Plan& plan() const { return plan_; }
  swap::Store* store() { return store_.get(); }  // null when nothing lives on nvme
  const aio::Arena& arena() const { return arena_; }
  // A host or, for plans that have a device, device address.
  std::byte* buffer(BufferId id) const {
    const Buffer& buffer = plan_.buffers[id];
    return buffer.tier == Tier::device ? device_.at(buffer.offset) : arena_.at(buffer.offset);
  }

  // Addresses of a chunk's sections, streamed ones in the given buffers.
  ChunkView view(swap::ChunkId chunk, BufferId weights, BufferId states) const;

  // Outside programs: the chunk in host memory, brought there when `read`; streamed sections use
  // slots, and those of the device a copy, so the view lasts until the next visit.
  Result<ChunkView> visit(swap::ChunkId chunk, bool read);
  // Puts the visited chunk's sections back where they rest.
  Result<void> store_chunk(swap::ChunkId chunk);
  // Frees what only visits need.
  void end_visits() { visited_ = {}; }

 private:
  Residence(const Plan& plan, aio::Arena arena);
  Result<void> transfer_streamed(swap::ChunkId chunk, aio::Direction direction);
  Result<void> transfer_device(swap::ChunkId chunk, aio::Direction direction);
  // Where a visited chunk's sections of the device are in host memory.
  std::byte* visited_weights() { return visited_.data(); }
  std::byte* visited_states(swap::ChunkId chunk) {
    return visited_.data() + plan_.layout.padded_bytes(chunk, swap::Section::W);
  }
  BufferId first_buffer(BufferKind kind) const;

  const Plan& plan_;
  aio::Arena arena_;
  DeviceMemory device_;
  PinnedArena pinned_;  // arena_, known to the driver
  std::vector<std::byte> visited_;
  BufferId landing_ = no_buffer, ring_ = no_buffer;
  std::unique_ptr<swap::Store> store_;
};

}  // namespace fathom::engine
