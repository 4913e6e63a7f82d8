// SPDX-License-Identifier: Apache-2.0
#include "engine/host_allocator.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include "base/units.hpp"

namespace fathom::engine {
namespace {

constexpr std::size_t small_limit = 64 * KiB;  // below: plain aligned memory, counted, not cached
constexpr std::size_t alignment = 64;
constexpr std::size_t huge_page = 2 * MiB;

class Pool {
 public:
  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    std::size_t size = rounded(bytes);
    void* block = size < small_limit ? small(size) : large(size);
    live_ += size;
    peak_ = std::max(peak_, live_);
    sizes_.emplace(block, size);
    return block;
  }

  void release(void* block) {
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(block);
    const std::size_t size = found->second;
    sizes_.erase(found);
    live_ -= size;
    if (size < small_limit) {
      held_ -= size;
      std::free(block);
    } else {
      cached_.emplace(size, block);
    }
  }

  void set_cap(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    cap_ = bytes;
    drop_cached();
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = live_;
  }
  void drop() {
    const std::lock_guard lock(mutex_);
    drop_cached();
  }
  HostAllocatorStats stats() {
    const std::lock_guard lock(mutex_);
    return {live_, peak_, held_};
  }

 private:
  // Sizes of one step come back in the next; a coarse grid lets near sizes share a block.
  static std::size_t rounded(std::size_t bytes) {
    if (bytes < small_limit) return round_up(std::max<std::size_t>(bytes, 1), alignment);
    return round_up(bytes, bytes < huge_page ? 4 * KiB : 64 * KiB);
  }

  void* small(std::size_t size) {
    make_room(size);
    void* block = std::aligned_alloc(alignment, size);
    TORCH_CHECK_WITH(OutOfMemoryError, block != nullptr, "out of memory allocating ", size,
                     " bytes");
    held_ += size;
    return block;
  }

  // Takes a cached block when at most an eighth of it is wasted; `size` becomes the block's.
  void* large(std::size_t& size) {
    const auto fit = cached_.lower_bound(size);
    if (fit != cached_.end() && fit->first <= size + size / 8) {
      void* block = fit->second;
      size = fit->first;
      cached_.erase(fit);
      return block;
    }
    make_room(size);
    void* block = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK_WITH(OutOfMemoryError, block != MAP_FAILED, "out of memory mapping ", size,
                     " bytes");
    if (size >= huge_page) ::madvise(block, size, MADV_HUGEPAGE);
    held_ += size;
    return block;
  }

  void make_room(std::size_t size) {
    if (cap_ == 0 || held_ + size <= cap_) return;
    drop_cached();
    TORCH_CHECK_WITH(OutOfMemoryError, held_ + size <= cap_, "activations need ", held_ + size,
                     " bytes, the plan allows ", cap_);
  }

  void drop_cached() {
    for (const auto& [size, block] : cached_) {
      ::munmap(block, size);
      held_ -= size;
    }
    cached_.clear();
  }

  std::mutex mutex_;
  std::map<void*, std::size_t> sizes_;
  std::multimap<std::size_t, void*> cached_;
  std::uint64_t live_ = 0, peak_ = 0, held_ = 0, cap_ = 0;
};

Pool& pool() {
  // Leaked on purpose: LibTorch frees tensors from static destructors.
  static Pool& instance = *new Pool;
  return instance;
}

struct HostAllocator final : c10::Allocator {
  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, c10::Device(c10::DeviceType::CPU)};
    void* block = pool().allocate(bytes);
    return {block, block, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  static void release(void* block) {
    if (block != nullptr) pool().release(block);
  }
};

}  // namespace

void install_host_allocator() {
  static HostAllocator& allocator = *new HostAllocator;
  // Above LibTorch's default of 0.
  c10::SetCPUAllocator(&allocator, 1);
}

void set_host_allocator_cap(std::uint64_t bytes) { pool().set_cap(bytes); }
HostAllocatorStats host_allocator_stats() { return pool().stats(); }
void reset_host_allocator_peak() { pool().reset_peak(); }
void release_cached_host_memory() { pool().drop(); }

}  // namespace fathom::engine
