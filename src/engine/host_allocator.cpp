// SPDX-License-Identifier: Apache-2.0
#include "engine/host_allocator.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include "base/units.hpp"
#include "engine/region_heap.hpp"

namespace fathom::engine {
namespace {

constexpr std::size_t small_limit = 64 * KiB;  // below: the C library's, counted
constexpr std::size_t alignment = 64;
constexpr std::size_t huge_page = 2 * MiB;

// Memory for tensors: one region of the size of the cap, cut by a RegionHeap; what does not fit
// into it in one piece is mapped on its own, and pages of free blocks are returned to keep the sum
// under the cap.
class Pool {
 public:
  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    Block block = bytes < small_limit ? small(bytes) : large(bytes);
    live_ += block.bytes;
    peak_ = std::max(peak_, live_);
    blocks_.emplace(block.address, block);
    return block.address;
  }

  void release(void* address) {
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(address);
    const Block block = found->second;
    blocks_.erase(found);
    live_ -= block.bytes;
    switch (block.kind) {
      case Kind::small:
        std::free(address);
        apart_ -= block.bytes;
        break;
      case Kind::mapped:
        ::munmap(address, block.bytes);
        apart_ -= block.bytes;
        break;
      case Kind::region:
        block.region->heap.give_back(
            static_cast<std::uint64_t>(static_cast<std::byte*>(address) - block.region->base));
        drop_unused_regions();
        break;
    }
  }

  void set_cap(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    cap_ = bytes;
    current_ = nullptr;
    if (bytes >= small_limit) {
      const std::size_t size = round_up(bytes, huge_page);
      void* base = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (base != MAP_FAILED) {
        ::madvise(base, size, MADV_HUGEPAGE);
        regions_.push_back(std::make_unique<Region>(static_cast<std::byte*>(base), size));
        current_ = regions_.back().get();
      }
    }
    drop_unused_regions();
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = live_;
  }
  void return_free_pages() {
    const std::lock_guard lock(mutex_);
    while (return_one()) {
    }
  }
  HostAllocatorStats stats() {
    const std::lock_guard lock(mutex_);
    return {live_, peak_, held()};
  }

 private:
  enum class Kind : std::uint8_t { small, mapped, region };
  struct Region {
    Region(std::byte* begin, std::size_t size) : base(begin), bytes(size), heap(size) {}
    std::byte* base;
    std::size_t bytes;
    RegionHeap heap;
  };
  struct Block {
    void* address = nullptr;
    std::size_t bytes = 0;
    Kind kind = Kind::small;
    Region* region = nullptr;
  };

  Block small(std::size_t bytes) {
    const std::size_t size = round_up(std::max<std::size_t>(bytes, 1), alignment);
    make_room(size);
    void* address = std::aligned_alloc(alignment, size);
    TORCH_CHECK_WITH(OutOfMemoryError, address != nullptr, "out of memory allocating ", size,
                     " bytes");
    apart_ += size;
    return {address, size, Kind::small, nullptr};
  }

  Block large(std::size_t bytes) {
    if (current_ != nullptr) {
      if (const auto offset = current_->heap.take(bytes)) {
        const Block block{current_->base + *offset, current_->heap.bytes_of(*offset), Kind::region,
                          current_};
        // What was taken may have become resident anew: others' free pages make room for it.
        shrink_to_cap();
        return block;
      }
    }
    const std::size_t size = round_up(bytes, RegionHeap::grain);
    make_room(size);
    void* address =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK_WITH(OutOfMemoryError, address != MAP_FAILED, "out of memory mapping ", size,
                     " bytes");
    if (size >= huge_page) ::madvise(address, size, MADV_HUGEPAGE);
    apart_ += size;
    return {address, size, Kind::mapped, nullptr};
  }

  std::uint64_t held() const {
    std::uint64_t sum = apart_;
    for (const auto& region : regions_) sum += region->heap.resident();
    return sum;
  }

  void shrink_to_cap() {
    while (cap_ != 0 && held() > cap_ && return_one()) {
    }
  }

  void make_room(std::size_t size) {
    while (cap_ != 0 && held() + size > cap_ && return_one()) {
    }
    TORCH_CHECK_WITH(OutOfMemoryError, cap_ == 0 || live_ + size <= cap_, "activations need ",
                     live_ + size, " bytes, the plan allows ", cap_);
  }

  bool return_one() {
    for (const auto& region : regions_)
      if (const auto block = region->heap.largest_resident_free()) {
        ::madvise(region->base + block->first, block->second, MADV_DONTNEED);
        return true;
      }
    return false;
  }

  void drop_unused_regions() {
    std::erase_if(regions_, [&](const std::unique_ptr<Region>& region) {
      if (region.get() == current_ || region->heap.used() != 0) return false;
      ::munmap(region->base, region->bytes);
      return true;
    });
  }

  std::mutex mutex_;
  std::unordered_map<void*, Block> blocks_;
  std::vector<std::unique_ptr<Region>> regions_;
  Region* current_ = nullptr;
  std::uint64_t live_ = 0, peak_ = 0, apart_ = 0, cap_ = 0;
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
void release_cached_host_memory() { pool().return_free_pages(); }

}  // namespace fathom::engine
