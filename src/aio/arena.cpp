// SPDX-License-Identifier: Apache-2.0
#include "aio/arena.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <linux/mman.h>
#include <sys/mman.h>

#include "aio/memory_limits.hpp"
#include "aio/numa.hpp"
#include "base/assert.hpp"
#include "base/log.hpp"
#include "base/units.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace fathom::aio {
namespace {

constexpr std::uint64_t huge = 2 * MiB;

// Inaccessible memory before and after the arena: it keeps the kernel from merging the mapping with
// a neighbour (so that its smaps entry is its own) and turns an overrun into a fault.
constexpr std::uint64_t guard = huge;

// Makes every page present. MADV_POPULATE_WRITE (5.14) reports what a plain touch would turn into
// SIGBUS; older kernels get the touch.
int touch_range(std::byte* data, std::uint64_t bytes) {
  while (::madvise(data, bytes, MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno != EINVAL) return errno;
    for (std::uint64_t at = 0; at < bytes; at += 4096)
      *reinterpret_cast<volatile std::byte*>(data + at) = std::byte{0};
    return 0;
  }
  return 0;
}

// Zeroing runs at memory speed per core, so large arenas are touched by several threads.
// They run on `node`, so that the zeros are written from where the memory is.
int touch(std::byte* data, std::uint64_t bytes, int node) {
  const std::uint64_t piece = 256 * MiB;
  const std::uint64_t pieces = ceil_div(bytes, piece);
  const auto threads = static_cast<unsigned>(std::min<std::uint64_t>(
      {pieces, std::max(1U, std::thread::hardware_concurrency()), std::uint64_t{8}}));
  std::atomic<std::uint64_t> next{0};
  std::atomic<int> error{0};
  const auto work = [&] {
    for (;;) {
      const std::uint64_t i = next.fetch_add(1);
      if (i >= pieces || error.load() != 0) return;
      const std::uint64_t begin = i * piece;
      if (const int failed = touch_range(data + begin, std::min(piece, bytes - begin)); failed != 0)
        error.store(failed);
    }
  };
  std::vector<std::jthread> helpers;
  for (unsigned i = 0; i < threads; ++i)
    helpers.emplace_back([&] {
      bind_thread_to_node(node);
      work();
    });
  helpers.clear();
  return error.load();
}

// AnonHugePages of the mapping that begins at `data`.
std::uint64_t huge_bytes(const std::byte* data) {
  std::ifstream smaps("/proc/self/smaps");
  const std::string start = fmt::format("{:x}-", reinterpret_cast<std::uintptr_t>(data));
  std::string line;
  bool inside = false;
  while (std::getline(smaps, line)) {
    if (line.starts_with(start)) {
      inside = true;
    } else if (inside) {
      if (const auto value = kib_field(line, "AnonHugePages")) return *value;
    }
  }
  return 0;
}

std::byte* map_hugetlb(std::uint64_t bytes, int node) {
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);
  if (address == MAP_FAILED) return nullptr;
  auto* data = static_cast<std::byte*>(address);
  prefer_node(data, bytes, node);
  // The pool may be promised to us and still be refused by a control group at first touch.
  if (touch(data, bytes, node) != 0) {
    ::munmap(data, bytes);
    return nullptr;
  }
  return data;
}

// Address space for `bytes` at a multiple of 2 MiB with a guard on both sides, or nullptr.
std::byte* reserve_aligned(std::uint64_t bytes) {
  const std::uint64_t whole = bytes + 2 * guard + huge;
  void* address =
      ::mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) return nullptr;
  auto* base = static_cast<std::byte*>(address);
  const auto start = round_up(reinterpret_cast<std::uintptr_t>(base), huge);
  auto* first = reinterpret_cast<std::byte*>(start);
  if (first != base) ::munmap(base, static_cast<std::size_t>(first - base));
  std::byte* end = first + bytes + 2 * guard;
  if (end != base + whole) ::munmap(end, static_cast<std::size_t>(base + whole - end));
  return first + guard;
}

void unmap(std::byte* data, std::uint64_t bytes, PageKind kind) {
  if (kind == PageKind::hugetlb)
    ::munmap(data, bytes);
  else
    ::munmap(data - guard, bytes + 2 * guard);
}

Error no_memory(std::uint64_t bytes, const std::string& why) {
  return Error(Errc::no_space, "allocate the I/O arena")
      .on(format_bytes(bytes))
      .because(why)
      .remedy("lower fathom.host_memory, or free memory on this machine");
}

}  // namespace

const char* to_string(PageKind kind) {
  switch (kind) {
    case PageKind::hugetlb: return "hugetlb (2 MiB)";
    case PageKind::transparent_huge: return "transparent huge pages (2 MiB)";
    case PageKind::small: return "4 KiB pages";
  }
  return "unknown";
}

// Unmaps what it has.
struct Arena::Mapping {
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (data != nullptr) unmap(data, size, kind);
  }
  std::byte* data = nullptr;
  std::uint64_t size = 0;
  PageKind kind = PageKind::small;
};

Result<Arena> Arena::allocate(std::uint64_t bytes, int node) {
  Arena arena;
  if (bytes == 0) return arena;
  if (bytes > (std::uint64_t{1} << 46)) return fail(no_memory(bytes, "no machine has that much"));
  const std::uint64_t size = round_up(bytes, huge);
  const auto mapping = std::make_shared<Mapping>();

  // The hugetlb pool is set aside already: it is not part of MemAvailable.
  std::byte* data = map_hugetlb(size, node);
  if (data != nullptr) {
    mapping->kind = PageKind::hugetlb;
  } else {
    const MemoryLimit limit = memory_limit();
    if (size > limit.available)
      return fail(no_memory(size, fmt::format("need {}, may take {} ({})", format_bytes(size),
                                              format_bytes(limit.available), limit.reason)));
    data = reserve_aligned(size);
    if (data == nullptr) return fail(no_memory(size, "no address space").because_errno(errno));
  }
  mapping->data = data;
  mapping->size = size;
  if (mapping->kind != PageKind::hugetlb) {
    if (::mprotect(data, size, PROT_READ | PROT_WRITE) != 0)
      return fail(no_memory(size, "the kernel refused to commit it").because_errno(errno));
    prefer_node(data, size, node);
    ::madvise(data, size, MADV_HUGEPAGE);  // refused without THP: found out below
    if (const int error = touch(data, size, node); error != 0)
      return fail(no_memory(size, "the kernel ran out of it").because_errno(error));
    std::uint64_t found = huge_bytes(data);
    if (found < size && ::madvise(data, size, MADV_COLLAPSE) == 0) found = huge_bytes(data);
    if (found >= size / 10 * 9) {
      mapping->kind = PageKind::transparent_huge;
    } else {
      log::warning(
          "I/O buffers: only {} of {} are on huge pages; expect about half the NVMe rate. Set "
          "/sys/kernel/mm/transparent_hugepage/enabled to madvise, or reserve hugetlb pages",
          format_bytes(found), format_bytes(size));
    }
  }
  // A child's copy-on-write of pages under DMA would give one of the two the wrong bytes; a core
  // dump of weights is large and not for everybody.
  ::madvise(data, size, MADV_DONTFORK);
  ::madvise(data, size, MADV_DONTDUMP);
  arena.mapping_ = mapping;
  return arena;
}

PageKind Arena::page_kind() const { return mapping_ ? mapping_->kind : PageKind::small; }

std::span<std::byte> Arena::bytes() const {
  if (!mapping_) return {};
  return {mapping_->data, mapping_->size};
}

std::shared_ptr<const void> Arena::hold() const { return mapping_; }

std::byte* Arena::at(std::uint64_t offset) const {
  FATHOM_ASSERT(offset < size(), "an address outside the arena was asked for");
  return mapping_->data + offset;
}

bool Arena::contains(const void* address) const {
  const auto value = reinterpret_cast<std::uintptr_t>(address);
  const auto first = reinterpret_cast<std::uintptr_t>(bytes().data());
  return value >= first && value - first < size();
}

}  // namespace fathom::aio
