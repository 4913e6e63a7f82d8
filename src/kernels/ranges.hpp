// SPDX-License-Identifier: Apache-2.0
//
// for_ranges: cuts [0, count) into ranges and runs them, with a pool or without.
//
// Purpose      The one way in which the CPU kernels use threads. Cuts depend on the count alone, so
//              that no result can depend on the number of threads.
// Ownership    `body` is called by reference: nothing is copied, the closure is never on the heap.
// Threads      `body` runs on several threads at once when there is a pool; ranges are disjoint.
// Units        Elements.
//
//   for_ranges(pool, count, [&](std::size_t begin, std::size_t end) { … });
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/thread_pool.hpp"

namespace fathom::kernels {

// A multiple of every vector width, so that only the last range has a tail; with 26 bytes an
// element it is 1.7 MB of traffic: far above the cost of handing out a range.
inline constexpr std::size_t range_elements = 65536;

template <typename Body>
void for_ranges(ThreadPool* pool, std::size_t count, std::size_t grain, const Body& body) {
  if (pool == nullptr) {
    for (std::size_t begin = 0; begin < count; begin += grain)
      body(begin, std::min(count, begin + grain));
    return;
  }
  // One pointer fits into std::function's own storage.
  pool->parallel_for(count, grain,
                     [&body](std::size_t begin, std::size_t end) { body(begin, end); });
}

template <typename Body>
void for_ranges(ThreadPool* pool, std::size_t count, const Body& body) {
  for_ranges(pool, count, range_elements, body);
}

}  // namespace fathom::kernels
