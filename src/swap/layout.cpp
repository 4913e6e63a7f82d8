// SPDX-License-Identifier: Apache-2.0
#include "swap/layout.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/assert.hpp"

namespace fathom::swap {

namespace {

// Bytes of `section` of a chunk of `elements` elements as they lie in a file or buffer.
std::uint64_t padded(const SectionBytes& sections, std::uint64_t elements, Section section) {
  return round_up(elements * sections.of(section), io_alignment);
}

std::uint64_t padded(const SectionBytes& sections, std::uint64_t elements, SectionMask set) {
  std::uint64_t sum = 0;
  for (const Section section : all_sections)
    if (has(set, section)) sum += padded(sections, elements, section);
  return sum;
}

// Deals extents to paths so that at every point of the sequence each path has received its share:
// a long run of chunks then keeps all devices busy, whereas filling one path's share first would
// leave the others idle.
class Striper {
 public:
  explicit Striper(const std::vector<double>& weights)
      : shares_(weights), given_(weights.size(), 0.0) {
    FATHOM_ASSERT(!weights.empty(), "a layout needs at least one path");
    double sum = 0;
    for (const double weight : weights) {
      FATHOM_ASSERT(std::isfinite(weight) && weight >= 0, "a path's weight is finite and >= 0");
      sum += weight;
    }
    FATHOM_ASSERT(sum > 0 && std::isfinite(sum), "at least one path has a positive weight");
    for (double& share : shares_) share /= sum;
  }

  // The path with the largest remaining share of all bytes dealt so far, these included; the first
  // of equals.
  std::uint32_t next(std::uint64_t bytes) {
    total_ += static_cast<double>(bytes);
    std::size_t best = 0;
    double largest = -std::numeric_limits<double>::infinity();
    for (std::size_t path = 0; path < shares_.size(); ++path) {
      if (shares_[path] == 0) continue;
      const double remaining = shares_[path] * total_ - given_[path];
      if (remaining > largest) {
        largest = remaining;
        best = path;
      }
    }
    given_[best] += static_cast<double>(bytes);
    return static_cast<std::uint32_t>(best);
  }

 private:
  std::vector<double> shares_;  // sum 1
  std::vector<double> given_;   // bytes; exact in a double up to 2^53
  double total_ = 0;
};

}  // namespace

Layout Layout::build(const LayoutInput& input) {
  FATHOM_ASSERT(input.chunk_elements > 0 && input.chunk_elements % 4096 == 0,
                "chunk_elements is a positive multiple of 4096");
  Layout layout;
  layout.sections_ = input.sections;
  layout.chunk_elements_ = input.chunk_elements;
  layout.file_bytes_.assign(input.path_weights.size(), 0);
  layout.first_chunk_.reserve(input.unit_elements.size() + 1);
  layout.first_chunk_.push_back(0);

  std::uint64_t chunk_count = 0;
  for (const std::uint64_t elements : input.unit_elements)
    chunk_count += ceil_div(elements, input.chunk_elements);
  FATHOM_ASSERT(chunk_count <= std::numeric_limits<ChunkId>::max(), "chunk ids fit in 32 bits");
  layout.chunks_.reserve(chunk_count);
  FATHOM_ASSERT(input.chunk_paths.empty() || input.chunk_paths.size() == chunk_count,
                "every chunk has a path, or none is given");

  Striper striper(input.path_weights);
  const SectionMask present = input.sections.present();
  for (std::uint32_t unit = 0; unit < input.unit_elements.size(); ++unit) {
    const std::uint64_t elements = input.unit_elements[unit];
    std::uint32_t in_unit = 0;
    for (std::uint64_t first = 0; first < elements; first += input.chunk_elements, ++in_unit) {
      Chunk chunk;
      chunk.unit = unit;
      chunk.first = first;
      chunk.elements = std::min(input.chunk_elements, elements - first);
      chunk.stored = input.stored ? input.stored(unit, in_unit) & present : present;
      chunk.bytes = padded(input.sections, chunk.elements, chunk.stored);
      if (chunk.bytes > 0) {
        const std::uint64_t extent = round_up(chunk.bytes, extent_alignment);
        chunk.path = input.chunk_paths.empty() ? striper.next(extent)
                                               : input.chunk_paths[layout.chunks_.size()];
        chunk.offset = layout.file_bytes_[chunk.path];
        layout.file_bytes_[chunk.path] += extent;
      }
      layout.chunks_.push_back(chunk);
    }
    layout.first_chunk_.push_back(static_cast<ChunkId>(layout.chunks_.size()));
  }
  return layout;
}

std::uint64_t Layout::payload_bytes(ChunkId id, Section section) const {
  return chunk(id).elements * sections_.of(section);
}

std::uint64_t Layout::padded_bytes(ChunkId id, Section section) const {
  return padded(sections_, chunk(id).elements, section);
}

std::uint64_t Layout::payload_bytes(ChunkId id, SectionMask set) const {
  return chunk(id).elements * sections_.of(set);
}

std::uint64_t Layout::padded_bytes(ChunkId id, SectionMask set) const {
  return padded(sections_, chunk(id).elements, set);
}

std::uint64_t Layout::section_offset(ChunkId id, Section section) const {
  return buffer_offset(id, chunk(id).stored, section);
}

std::uint64_t Layout::buffer_offset(ChunkId id, SectionMask set, Section section) const {
  FATHOM_ASSERT(has(set, section), "the section is one of the set");
  const SectionMask before = set & static_cast<SectionMask>(mask(section) - 1U);
  return padded_bytes(id, before);
}

bool Layout::contiguous(ChunkId id, SectionMask set) const {
  const SectionMask stored = chunk(id).stored;
  const SectionMask wanted = set & stored;
  if (wanted == 0) return false;
  // Between the first and the last wanted section no other stored one may lie.
  SectionMask run = 0;
  bool inside = false;
  SectionMask left = wanted;
  for (const Section section : all_sections) {
    if (has(wanted, section)) inside = true;
    if (inside && left != 0 && has(stored, section)) run |= mask(section);
    left &= static_cast<SectionMask>(~mask(section));
  }
  return run == wanted;
}

}  // namespace fathom::swap
