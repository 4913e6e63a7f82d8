// SPDX-License-Identifier: Apache-2.0
#include "swap/block_hash.hpp"

#include <algorithm>
#include <atomic>
#include <functional>

#include <xxhash.h>

#include "base/assert.hpp"

namespace fathom::swap {

namespace {

// A range of blocks that one pool thread hashes in a go: about half a millisecond of work.
constexpr std::size_t blocks_per_range = 8;

// The finaliser of SplitMix64: every bit of the input reaches every bit of the output.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// The blocks of one section that a generation is checked by: first, first + stride, … below count.
struct Selection {
  std::uint64_t first = 0, stride = 1, count = 0;  // count: how many are selected

  // The sample starts elsewhere for each generation and chunk, so that sixteen writes, or one write
  // of sixteen chunks, look at every position; a section of few blocks has one of them looked at.
  Selection(Verify verify, ChunkId chunk, std::uint64_t generation, std::uint64_t bytes) {
    const std::uint64_t blocks = ceil_div(bytes, hash_block_bytes);
    if (verify == Verify::off || blocks == 0) return;
    if (verify == Verify::sampled) {
      stride = sample_stride;
      first = (generation + chunk) % std::min(stride, blocks);
    }
    count = ceil_div(blocks - first, stride);
  }

  std::uint64_t block(std::size_t i) const { return first + i * stride; }
};

std::span<const std::byte> block_bytes(std::span<const std::byte> section, std::uint64_t block) {
  const std::uint64_t begin = block * hash_block_bytes;
  return section.subspan(begin, std::min(hash_block_bytes, section.size() - begin));
}

}  // namespace

const char* to_string(Verify verify) {
  switch (verify) {
    case Verify::full: return "full";
    case Verify::sampled: return "sampled";
    case Verify::off: return "off";
  }
  FATHOM_ASSERT(false, "unknown verify mode");
  return "";
}

std::uint64_t block_seed(ChunkId chunk, Section section, std::uint64_t generation,
                         std::uint64_t block) {
  const std::uint64_t place = (std::uint64_t{chunk} << 8) | index(section);
  return mix(mix(mix(place) ^ generation) ^ block);
}

std::uint64_t block_hash(std::span<const std::byte> bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t block_count(const Layout& layout) {
  std::uint64_t count = 0;
  for (ChunkId chunk = 0; chunk < layout.chunks().size(); ++chunk)
    for (const Section section : all_sections)
      if (has(layout.chunk(chunk).stored, section))
        count += ceil_div(layout.padded_bytes(chunk, section), hash_block_bytes);
  return count;
}

BlockHashes::BlockHashes(const Layout& layout, Verify verify, bool keep_all)
    : verify_(verify), recorded_(keep_all ? Verify::full : verify) {
  first_.reserve(layout.chunks().size() * section_count);
  std::size_t total = 0;
  for (ChunkId chunk = 0; chunk < layout.chunks().size(); ++chunk) {
    for (const Section section : all_sections) {
      first_.push_back(total);
      if (records() && has(layout.chunk(chunk).stored, section))
        total += ceil_div(layout.padded_bytes(chunk, section), hash_block_bytes);
    }
  }
  hashes_.assign(total, 0);
}

void BlockHashes::restore(std::span<const std::uint64_t> hashes) {
  FATHOM_ASSERT(hashes.size() == hashes_.size(), "as many hashes come back as were taken");
  std::ranges::copy(hashes, hashes_.begin());
}

void BlockHashes::record(ChunkId chunk, Section section, std::uint64_t generation,
                         std::span<const std::byte> bytes, ThreadPool& pool) {
  const Selection selection(recorded_, chunk, generation, bytes.size());
  std::uint64_t* const hashes = hashes_.data() + first(chunk, section);
  const auto record_range = [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::uint64_t block = selection.block(i);
      hashes[block] =
          block_hash(block_bytes(bytes, block), block_seed(chunk, section, generation, block));
    }
  };
  pool.parallel_for(selection.count, blocks_per_range, std::ref(record_range));
}

std::optional<BlockHashes::Mismatch> BlockHashes::check(ChunkId chunk, Section section,
                                                        std::uint64_t generation,
                                                        std::span<const std::byte> bytes,
                                                        ThreadPool& pool) const {
  const Selection selection(verify_, chunk, generation, bytes.size());
  const std::uint64_t* const hashes = hashes_.data() + first(chunk, section);
  const auto hash = [&](std::uint64_t block) {
    return block_hash(block_bytes(bytes, block), block_seed(chunk, section, generation, block));
  };
  std::atomic<std::uint64_t> bad{0}, first_bad{~std::uint64_t{0}};
  const auto check_range = [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::uint64_t block = selection.block(i);
      if (hash(block) == hashes[block]) continue;
      bad.fetch_add(1, std::memory_order_relaxed);
      std::uint64_t seen = first_bad.load(std::memory_order_relaxed);
      while (block < seen &&
             !first_bad.compare_exchange_weak(seen, block, std::memory_order_relaxed)) {
      }
    }
  };
  pool.parallel_for(selection.count, blocks_per_range, std::ref(check_range));
  if (bad.load() == 0) return std::nullopt;
  const std::uint64_t block = first_bad.load();
  return Mismatch{block, bad.load(), selection.count, hashes[block], hash(block)};
}

}  // namespace fathom::swap
