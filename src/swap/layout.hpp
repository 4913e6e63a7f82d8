// SPDX-License-Identifier: Apache-2.0
//
// Layout: which bytes of which file hold which section of which chunk. Pure.
//
// Purpose      A unit's partition is cut into chunks; the sections of a chunk that live on nvme lie
//              in one extent in the order W | lo | m | v, each padded to 4 KiB, extents 2 MiB
//              aligned, so that any run of neighbouring sections is one contiguous read.
// Ownership    A value; immutable after build().
// Units        Elements and bytes.
//
//   Layout layout = Layout::build({.unit_elements = {1000, 5000}, .chunk_elements = 4096,
//                                  .sections = split_bf16_sections});
//   const Chunk& chunk = layout.chunk(layout.first_chunk(1));
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/units.hpp"
#include "swap/section.hpp"

namespace fathom::swap {

inline constexpr std::uint64_t extent_alignment = 2 * MiB;

using ChunkId = std::uint32_t;

struct Chunk {
  std::uint32_t unit = 0;
  std::uint64_t first = 0;  // element in the unit's partition
  std::uint64_t elements = 0;
  SectionMask stored = 0;    // sections that have space in the file; the others live in memory
  std::uint32_t path = 0;    // index of the stripe path
  std::uint64_t offset = 0;  // extent's first byte in that path's file
  std::uint64_t bytes = 0;   // padded sections together; 0 when nothing is stored
};

struct LayoutInput {
  std::vector<std::uint64_t> unit_elements;  // partition size of each unit, already padded over
                                             // ranks
  std::uint64_t chunk_elements = 16 * MiB;   // a multiple of 4096
  SectionBytes sections;
  // Sections of (unit, chunk index within the unit) that need file space; default: all that exist.
  std::function<SectionMask(std::uint32_t, std::uint32_t)> stored = {};
  std::vector<double> path_weights = {1.0};  // share of bytes per path, any positive scale
  // The path of each chunk, where that is decided already; else they are dealt by weight.
  std::vector<std::uint32_t> chunk_paths = {};
};

class Layout {
 public:
  static Layout build(const LayoutInput& input);

  std::span<const Chunk> chunks() const { return chunks_; }
  const Chunk& chunk(ChunkId id) const { return chunks_[id]; }
  std::uint32_t units() const { return static_cast<std::uint32_t>(first_chunk_.size() - 1); }
  ChunkId first_chunk(std::uint32_t unit) const { return first_chunk_[unit]; }
  ChunkId end_chunk(std::uint32_t unit) const { return first_chunk_[unit + 1]; }
  const SectionBytes& sections() const { return sections_; }
  std::uint64_t chunk_elements() const { return chunk_elements_; }
  std::span<const std::uint64_t> file_bytes() const { return file_bytes_; }  // per path

  // Payload and padded (4 KiB) bytes of one section of a chunk, whether stored or not.
  std::uint64_t payload_bytes(ChunkId id, Section section) const;
  std::uint64_t padded_bytes(ChunkId id, Section section) const;
  // Same for a set of sections.
  std::uint64_t payload_bytes(ChunkId id, SectionMask set) const;
  std::uint64_t padded_bytes(ChunkId id, SectionMask set) const;

  // Where `section` begins in the extent (bytes from Chunk::offset); it must be stored.
  std::uint64_t section_offset(ChunkId id, Section section) const;
  // Where `section` begins in a buffer that holds exactly the sections of `set`, each padded.
  std::uint64_t buffer_offset(ChunkId id, SectionMask set, Section section) const;
  // True when the stored sections of `set` are neighbours in the extent (one contiguous transfer).
  bool contiguous(ChunkId id, SectionMask set) const;

 private:
  std::vector<Chunk> chunks_;
  std::vector<ChunkId> first_chunk_;
  std::vector<std::uint64_t> file_bytes_;
  SectionBytes sections_;
  std::uint64_t chunk_elements_ = 0;
};

}  // namespace fathom::swap
