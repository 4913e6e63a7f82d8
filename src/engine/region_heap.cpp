// SPDX-License-Identifier: Apache-2.0
#include "engine/region_heap.hpp"

#include <iterator>

#include "base/assert.hpp"
#include "base/units.hpp"

namespace fathom::engine {

RegionHeap::RegionHeap(std::uint64_t bytes) {
  if (bytes >= grain) add_free(0, {round_down(bytes, grain), false});
}

void RegionHeap::add_free(std::uint64_t offset, Free block) {
  free_.emplace(offset, block);
  by_size_.emplace(block.bytes, offset);
}

void RegionHeap::remove_free(std::map<std::uint64_t, Free>::iterator block) {
  by_size_.erase({block->second.bytes, block->first});
  free_.erase(block);
}

std::optional<std::uint64_t> RegionHeap::take(std::uint64_t bytes) {
  const std::uint64_t size = round_up(bytes == 0 ? 1 : bytes, grain);
  const auto fit = by_size_.lower_bound({size, 0});
  if (fit == by_size_.end()) return std::nullopt;
  const std::uint64_t offset = fit->second;
  const auto found = free_.find(offset);
  const Free block = found->second;
  remove_free(found);
  if (block.bytes > size) add_free(offset + size, {block.bytes - size, block.resident});
  taken_.emplace(offset, size);
  used_ += size;
  if (!block.resident) resident_ += size;
  return offset;
}

void RegionHeap::give_back(std::uint64_t offset) {
  const auto found = taken_.find(offset);
  FATHOM_ASSERT(found != taken_.end(), "only a taken block can be given back");
  Free block{found->second, true};
  used_ -= block.bytes;
  taken_.erase(found);
  // Neighbours merge only when they are alike: pages that were returned stay known as returned.
  const auto after = free_.find(offset + block.bytes);
  if (after != free_.end() && after->second.resident) {
    block.bytes += after->second.bytes;
    remove_free(after);
  }
  const auto next = free_.lower_bound(offset);
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->second.resident && before->first + before->second.bytes == offset) {
      offset = before->first;
      block.bytes += before->second.bytes;
      remove_free(before);
    }
  }
  add_free(offset, block);
}

std::optional<std::pair<std::uint64_t, std::uint64_t>> RegionHeap::largest_resident_free() {
  auto best = free_.end();
  for (auto block = free_.begin(); block != free_.end(); ++block)
    if (block->second.resident && (best == free_.end() || block->second.bytes > best->second.bytes))
      best = block;
  if (best == free_.end()) return std::nullopt;
  const std::pair<std::uint64_t, std::uint64_t> found{best->first, best->second.bytes};
  remove_free(best);
  resident_ -= found.second;
  // Joins free neighbours that are not resident either, so that large requests find room again.
  std::uint64_t offset = found.first, bytes = found.second;
  const auto after = free_.lower_bound(offset);
  if (after != free_.begin()) {
    const auto before = std::prev(after);
    if (!before->second.resident && before->first + before->second.bytes == offset) {
      offset = before->first;
      bytes += before->second.bytes;
      remove_free(before);
    }
  }
  const auto next = free_.find(offset + bytes);
  if (next != free_.end() && !next->second.resident) {
    bytes += next->second.bytes;
    remove_free(next);
  }
  add_free(offset, {bytes, false});
  return found;
}

}  // namespace fathom::engine
