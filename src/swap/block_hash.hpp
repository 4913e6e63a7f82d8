// SPDX-License-Identifier: Apache-2.0
//
// BlockHashes: what every block of the store should hash to.
//
// Purpose      Each section of a chunk is cut into 1 MiB blocks; a block's XXH3-64 is seeded with
//              (chunk, section, generation, block index), so data of another place or of an earlier
//              write has another hash even when a block-sized piece of it is intact.
// Ownership    Owns 8 bytes per block, allocated once; borrows the bytes it hashes.
// Threads      Distinct (chunk, section) pairs may be used by distinct threads at the same time.
// Units        Bytes; block indices count from the section's first byte.
//
//   BlockHashes hashes(layout, Verify::full);
//   hashes.record(chunk, Section::m, generation, bytes, pool);            // before the write
//   auto bad = hashes.check(chunk, Section::m, generation, bytes, pool);  // after the read
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.hpp"
#include "swap/layout.hpp"

namespace fathom::swap {

enum class Verify : std::uint8_t { full, sampled, off };
const char* to_string(Verify verify);

inline constexpr std::uint64_t hash_block_bytes = 1 * MiB;
inline constexpr std::uint64_t sample_stride = 16;  // Verify::sampled looks at one block in so many

// The seed of one block; a pure function that must stay the same once hashes reach a disk.
std::uint64_t block_seed(ChunkId chunk, Section section, std::uint64_t generation,
                         std::uint64_t block);

std::uint64_t block_hash(std::span<const std::byte> bytes, std::uint64_t seed);

// How many blocks the stored sections of a layout have.
std::uint64_t block_count(const Layout& layout);

class BlockHashes {
 public:
  struct Mismatch {
    std::uint64_t block = 0;                // the first bad block of the section
    std::uint64_t bad = 0;                  // bad blocks in the section
    std::uint64_t looked_at = 0;            // blocks that were compared
    std::uint64_t expected = 0, found = 0;  // hashes of the first bad block
  };

  // `keep_all`: record() hashes every block whatever `verify` says, for those who check later.
  BlockHashes(const Layout& layout, Verify verify, bool keep_all = false);

  Verify verify() const { return verify_; }
  bool records() const { return recorded_ != Verify::off; }

  // Every hash: of chunk 0's stored sections, their blocks in order, then of chunk 1's, … Not while
  // anything is recorded.
  std::span<const std::uint64_t> all() const { return hashes_; }
  void restore(std::span<const std::uint64_t> hashes);

  // Hashes the blocks of `section` (its padded bytes) that this generation is checked by.
  void record(ChunkId chunk, Section section, std::uint64_t generation,
              std::span<const std::byte> bytes, ThreadPool& pool);

  // Compares what came back; nothing when every block that was recorded is as it was written.
  std::optional<Mismatch> check(ChunkId chunk, Section section, std::uint64_t generation,
                                std::span<const std::byte> bytes, ThreadPool& pool) const;

 private:
  std::size_t first(ChunkId chunk, Section section) const {
    return first_[chunk * section_count + index(section)];
  }

  Verify verify_, recorded_;
  std::vector<std::size_t> first_;  // index of (chunk, section)'s first hash
  std::vector<std::uint64_t> hashes_;
};

}  // namespace fathom::swap
