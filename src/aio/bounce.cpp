// SPDX-License-Identifier: Apache-2.0
#include "aio/bounce.hpp"

#include <algorithm>
#include <new>

#include "base/assert.hpp"

namespace fathom::aio {
namespace {

// The largest part that one bounce buffer or block takes.
Cut around(Route route, std::uint64_t lead, std::uint64_t bytes) {
  return {
      .route = route, .bytes = bytes, .lead = lead, .span = round_up(lead + bytes, io_alignment)};
}

}  // namespace

Cut cut(const Request& request, std::uint64_t issued, std::uint64_t block) {
  const std::uint64_t rest = request.bytes - issued;
  const std::uint64_t straight = std::min(block, rest);
  if (!request.file->direct()) return {.bytes = straight, .span = straight};

  const std::uint64_t position = request.offset + issued;
  const auto address = reinterpret_cast<std::uintptr_t>(request.buffer) + issued;
  const std::uint64_t lead = position % io_alignment;
  const std::uint64_t whole = lead == 0 ? round_down(rest, io_alignment) : 0;
  const bool fits_memory = address % io_alignment == lead;
  if (whole > 0 && fits_memory) {
    const std::uint64_t bytes = std::min(round_down(block, io_alignment), whole);
    return {.bytes = bytes, .span = bytes};
  }
  const std::uint64_t most = std::min(bounce_bytes, round_down(block, io_alignment));
  const std::uint64_t to_boundary = std::min(rest, io_alignment - lead);
  if (request.direction == Direction::write) {
    if (whole == 0) return around(Route::edge, lead, to_boundary);
    return around(Route::bounce, 0, std::min(whole, most));
  }
  // Where memory lies like the file, the rest of the request can go straight.
  return around(Route::bounce, lead, fits_memory ? to_boundary : std::min(rest, most - lead));
}

std::byte* BouncePool::take() {
  FATHOM_ASSERT(available(), "bounce buffers are asked for before they are taken");
  if (free_.empty()) {
    buffers_.emplace_back(static_cast<std::byte*>(std::aligned_alloc(io_alignment, bounce_bytes)),
                          &std::free);
    FATHOM_ASSERT(buffers_.back() != nullptr, "no memory for a bounce buffer");
    free_.reserve(most_);
    return buffers_.back().get();
  }
  std::byte* buffer = free_.back();
  free_.pop_back();
  return buffer;
}

}  // namespace fathom::aio
