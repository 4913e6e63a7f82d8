// SPDX-License-Identifier: Apache-2.0
//
// RegionHeap: which parts of one region of memory are in use. Pure: offsets, no memory.
//
// Purpose      Best fit with immediate merging of neighbours. A training step asks for the same
//              sizes over and over, so the same blocks are found again and no page is given back
//              and faulted in anew. Free blocks remember whether their pages may be resident, so
//              that the owner can return them when the promise of a peak needs it.
// Threads      The owner locks.
// Units        Bytes; sizes are rounded up to `grain`.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace fathom::engine {

class RegionHeap {
 public:
  static constexpr std::uint64_t grain = 4096;

  explicit RegionHeap(std::uint64_t bytes);

  // The offset of a free block of at least `bytes`; nothing when no single block is large enough.
  std::optional<std::uint64_t> take(std::uint64_t bytes);
  void give_back(std::uint64_t offset);

  // The largest free block whose pages may be resident, now noted as returned: {offset, bytes}.
  std::optional<std::pair<std::uint64_t, std::uint64_t>> largest_resident_free();

  std::uint64_t used() const { return used_; }          // in taken blocks
  std::uint64_t resident() const { return resident_; }  // used, and free but perhaps resident
  std::uint64_t bytes_of(std::uint64_t offset) const { return taken_.at(offset); }

 private:
  struct Free {
    std::uint64_t bytes;
    bool resident;
  };
  void add_free(std::uint64_t offset, Free block);
  void remove_free(std::map<std::uint64_t, Free>::iterator block);

  std::map<std::uint64_t, Free> free_;                         // by offset
  std::set<std::pair<std::uint64_t, std::uint64_t>> by_size_;  // {bytes, offset}
  std::map<std::uint64_t, std::uint64_t> taken_;               // offset -> bytes
  std::uint64_t used_ = 0, resident_ = 0;
};

}  // namespace fathom::engine
