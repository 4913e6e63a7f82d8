// SPDX-License-Identifier: Apache-2.0
//
// Arena: the one allocation that every I/O buffer is cut from.
//
// Purpose      Anonymous memory, 2 MiB aligned, on the largest pages the machine gives: hugetlb,
//              else transparent huge pages (verified in /proc/self/smaps), else 4 KiB pages with a
//              warning that names the expected loss. Huge pages halve the number of device
//              requests.
// Ownership    The memory is unmapped when the Arena and every queue that it is attached to are
//              gone: as long as an engine has the pages registered, no other memory can take their
//              addresses. Nothing cut from it may be in use by the kernel when the Arena goes.
// Threads      Immutable after allocate(); distinct slices may be used by distinct threads.
// Units        Bytes.
//
//   FATHOM_ASSIGN(aio::Arena arena, aio::Arena::allocate(256 * MiB));
//   std::byte* slot = arena.at(offset);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.hpp"

namespace fathom::aio {

enum class PageKind : std::uint8_t { hugetlb, transparent_huge, small };
const char* to_string(PageKind kind);

class Arena {
 public:
  // Maps and touches `bytes` (rounded up to 2 MiB); 0 gives an empty arena. The memory is zero,
  // kept out of core dumps and not inherited by fork. With a NUMA node (numa.hpp; -1: none) its
  // pages come from there as long as it has any. Errors: no_space with the arithmetic.
  static Result<Arena> allocate(std::uint64_t bytes, int node = -1);

  Arena() = default;
  Arena(Arena&&) noexcept = default;
  Arena& operator=(Arena&&) noexcept = default;

  std::uint64_t size() const { return bytes().size(); }
  PageKind page_kind() const;
  std::span<std::byte> bytes() const;

  // Address of byte `offset`, which must be inside the arena.
  std::byte* at(std::uint64_t offset) const;
  bool contains(const void* address) const;

  // Keeps the memory mapped; for those who have told the kernel of it.
  std::shared_ptr<const void> hold() const;

 private:
  struct Mapping;
  std::shared_ptr<const Mapping> mapping_;
};

}  // namespace fathom::aio
