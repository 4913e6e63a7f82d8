// SPDX-License-Identifier: Apache-2.0
//
// Bounce: how requests that are no multiples of io_alignment reach a file that takes nothing else.
//
// Purpose      cut() says which part of a request goes next and by which route. On a direct file
//              (O_DIRECT) the odd head and tail of a request, and all of it where its buffer does
//              not lie like its offset, go through an aligned block of the queue's; the rest goes
//              straight. On a buffered file everything goes straight.
//                read      the blocks around the bytes are read and the bytes copied out; the end
//                of
//                          the file inside the last block is no error as long as every byte asked
//                          for is there.
//                write     whole blocks are copied in and written. A block that is written in part
//                          (an edge) is read, changed and written back.
// Contract     Edges are done one at a time per queue, so requests of one queue that share a block
//              without sharing bytes never undo one another. Odd writes of one file must go through
//              one queue; nobody else may write to those blocks meanwhile. A block at the end of
//              the file is padded with zeros, and the file grows to a multiple of io_alignment: a
//              File that can be written was created by this process, so the padding is its own; who
//              needs the exact length truncates the file after the last write. Edges are slow (two
//              transfers, one at a time): they are for headers and tails.
// Threads      cut() is pure. A BouncePool belongs to one thread.
// Units        Bytes.
//
//   const Cut piece = cut(request, issued, block_size);
//   if (piece.route != Route::direct) buffer = pool.take();
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "aio/queue.hpp"
#include "base/units.hpp"

namespace fathom::aio {

enum class Route : std::uint8_t { direct, bounce, edge };

// The size of a bounce buffer: most of what goes that way is small.
inline constexpr std::uint64_t bounce_bytes = 256 * KiB;

struct Cut {
  Route route = Route::direct;
  std::uint64_t bytes = 0;  // of the request
  std::uint64_t lead = 0;   // bytes of the first block before them
  std::uint64_t span = 0;   // bytes that the device moves: whole blocks around them
};

// The part of `request` that follows its first `issued` bytes, at most `block` bytes of it.
Cut cut(const Request& request, std::uint64_t issued, std::uint64_t block);

// Bounce buffers, allocated when first needed and kept: at most `most`.
class BouncePool {
 public:
  explicit BouncePool(unsigned most) : most_(most) {}

  bool available() const { return !free_.empty() || buffers_.size() < most_; }
  std::byte* take();  // not without available()
  void give_back(std::byte* buffer) { free_.push_back(buffer); }

 private:
  using Buffer = std::unique_ptr<std::byte, decltype(&std::free)>;
  const unsigned most_;
  std::vector<Buffer> buffers_;
  std::vector<std::byte*> free_;
};

}  // namespace fathom::aio
