// SPDX-License-Identifier: Apache-2.0
//
// StripedFile: one run of bytes laid over several files, each behind the queue of its own device.
//
// Purpose      A request is cut into chunks that are dealt to the paths by weight, so that every
//              device works on it at once and ends at the same time. The deal repeats: where a byte
//              lies follows from its offset alone, and no table is kept.
// Ownership    Refers to queues and files, which outlive the StripedFile and every request on it.
//              Buffers are the kernel's until the completion has been called.
// Threads      submit() from any thread; a completion runs on the thread of the queue that finished
//              last, as in queue.hpp.
// Units        Bytes; weights on any positive scale (measured bytes per second, say).
//
//   FATHOM_ASSIGN(const StripedFile whole, StripedFile::over({{q0, &f0, 3e9}, {q1, &f1, 1e9}}));
//   whole.submit({.direction = Direction::read, .offset = 0, .buffer = p, .bytes = 64 * MiB},
//   done);
#pragma once

#include <cstdint>
#include <vector>

#include "aio/queue.hpp"

namespace fathom::aio {

struct StripePath {
  Queue* queue = nullptr;
  const File* file = nullptr;
  double weight = 1;
};

class StripedFile {
 public:
  static constexpr std::uint64_t least_chunk = 1048576, most_chunk = 4194304;

  // `chunk`: a power of two from 1 to 4 MiB. Weights are kept to half a percent of all bytes or to
  // a 64th, and what follows is dealt in runs of at most 64 chunks; a path whose share rounds to
  // nothing gets nothing. Errors: bad_config for weights that are no positive numbers, a chunk out
  // of range, or files too small for one deal.
  static Result<StripedFile> over(std::vector<StripePath> paths, std::uint64_t chunk = 2097152);

  std::uint64_t size() const { return size_; }
  std::uint64_t chunk() const { return chunk_; }

  struct Place {
    std::size_t path = 0;
    std::uint64_t offset = 0;  // in that path's file
  };
  Place place(std::uint64_t offset) const;

  // As Queue::submit, in offsets of the whole; `request.file` does not count. Of several errors the
  // one at the lowest offset is reported.
  void submit(const Request& request, Completion completion) const;

 private:
  static constexpr std::size_t longest_deal = 64;
  StripedFile() = default;

  std::vector<StripePath> paths_;
  std::vector<std::uint32_t> deal_;    // the path of each chunk of a deal
  std::vector<std::uint32_t> rank_;    // which of that path's chunks in the deal it is
  std::vector<std::uint32_t> chunks_;  // of each path in a deal
  std::uint64_t chunk_ = 0, size_ = 0;
};

}  // namespace fathom::aio
