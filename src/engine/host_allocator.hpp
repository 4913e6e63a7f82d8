// SPDX-License-Identifier: Apache-2.0
//
// HostAllocator: LibTorch's CPU memory, counted, cached and capped.
//
// Purpose      Activations of a block come from LibTorch. Behind this allocator they are part of
// the
//              budget: what is in use is known to the byte, freed memory is kept for the next
//              micro-batch (a step allocates the same sizes again), and a request beyond the cap
//              fails with a message that names the budget instead of growing until the kernel kills
//              the job.
// Ownership    Installed once for the process; never removed (tensors may outlive main).
// Threads      Safe from any thread.
// Units        Bytes.
#pragma once

#include <cstdint>

namespace fathom::engine {

struct HostAllocatorStats {
  std::uint64_t live = 0;  // bytes in tensors now
  std::uint64_t peak = 0;  // largest `live` since reset
  std::uint64_t held = 0;  // live, and free but still resident
};

// Makes LibTorch allocate CPU memory here. Idempotent.
void install_host_allocator();

// The most bytes held at once from now on; 0: no cap. Cached blocks are returned to the system
// first.
void set_host_allocator_cap(std::uint64_t bytes);

HostAllocatorStats host_allocator_stats();
void reset_host_allocator_peak();

// Returns free pages to the system.
void release_cached_host_memory();

}  // namespace fathom::engine
