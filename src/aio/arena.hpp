// SPDX-License-Identifier: Apache-2.0
//
// Arena: the one allocation that every I/O buffer is cut from.
//
// Purpose      Anonymous memory, 2 MiB aligned, on the largest pages the machine gives: hugetlb,
//              else transparent huge pages (verified in /proc/self/smaps), else 4 KiB pages with a
//              warning that names the expected loss. Huge pages halve the number of device
//              requests.
// Ownership    The Arena unmaps on destruction; nothing cut from it may be in use by the kernel
// then. Threads      Immutable after allocate(); distinct slices may be used by distinct threads.
// Units        Bytes.
//
//   FATHOM_ASSIGN(aio::Arena arena, aio::Arena::allocate(256 * MiB));
//   std::byte* slot = arena.at(offset);
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.hpp"

namespace fathom::aio {

enum class PageKind : std::uint8_t { hugetlb, transparent_huge, small };
const char* to_string(PageKind kind);

class Arena {
 public:
  // Maps and touches `bytes` (rounded up to 2 MiB); 0 gives an empty arena. The memory is zero,
  // kept out of core dumps and not inherited by fork. Errors: no_space with the arithmetic.
  static Result<Arena> allocate(std::uint64_t bytes);

  Arena() = default;
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  ~Arena();

  std::uint64_t size() const { return size_; }
  PageKind page_kind() const { return page_kind_; }
  std::span<std::byte> bytes() const { return {data_, size_}; }

  // Address of byte `offset`, which must be inside the arena.
  std::byte* at(std::uint64_t offset) const;
  bool contains(const void* address) const;

 private:
  std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
  PageKind page_kind_ = PageKind::small;
};

}  // namespace fathom::aio
