// SPDX-License-Identifier: Apache-2.0
//
// Helpers of the queue tests: blocking transfers, aligned memory, and bytes that differ everywhere.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <future>
#include <memory>
#include <span>

#include "aio/queue.hpp"
#include "base/units.hpp"

namespace fathom::aio {

class Block {
 public:
  explicit Block(std::uint64_t bytes)
      : data_(static_cast<std::byte*>(std::aligned_alloc(io_alignment, bytes)), &std::free),
        size_(bytes) {
    clear();
  }
  std::byte* data() const { return data_.get(); }
  std::uint64_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {data_.get(), size_}; }
  void clear() { std::fill_n(data_.get(), size_, std::byte{0}); }

  // Every 8 bytes differ by position and seed, so that a misplaced block shows.
  void fill(std::uint64_t seed) {
    auto* words = reinterpret_cast<std::uint64_t*>(data_.get());
    for (std::uint64_t i = 0; i < size_ / 8; ++i)
      words[i] = (seed * 0x9E3779B97F4A7C15ULL) ^ (i * 0xD1B54A32D192ED03ULL + seed);
  }
  friend bool operator==(const Block& a, const Block& b) {
    return a.size_ == b.size_ && std::equal(a.data_.get(), a.data_.get() + a.size_, b.data_.get());
  }

 private:
  std::unique_ptr<std::byte, decltype(&std::free)> data_;
  std::uint64_t size_;
};

inline std::future<Result<void>> start(Queue& queue, const Request& request) {
  std::promise<Result<void>> promise;
  auto future = promise.get_future();
  queue.submit(request, [promise = std::move(promise)](Result<void> done) mutable {
    promise.set_value(std::move(done));
  });
  return future;
}

inline Request request_of(Direction direction, const File& file, std::uint64_t offset,
                          const Block& block, Priority priority = Priority::demand) {
  return {.direction = direction,
          .priority = priority,
          .file = &file,
          .offset = offset,
          .buffer = block.data(),
          .bytes = block.size()};
}

inline Result<void> write_now(Queue& queue, const File& file, std::uint64_t offset,
                              const Block& block) {
  return start(queue, request_of(Direction::write, file, offset, block)).get();
}

inline Result<void> read_now(Queue& queue, const File& file, std::uint64_t offset,
                             const Block& block) {
  return start(queue, request_of(Direction::read, file, offset, block)).get();
}

}  // namespace fathom::aio
