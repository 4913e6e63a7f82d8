// SPDX-License-Identifier: Apache-2.0
//
// Store format: the durable store's metadata as bytes, and back. Pure; docs/store-format.md is its
// specification.
//
// Purpose      The journal's superblock (what the store is: sizes, layout, a description of the
//              caller's), its records (what a committed step is: the caller's state, and the slot,
//              generation and block hashes of every section) and the header of a data file.
// Trust        Decoding believes nothing: magic, version and checksum come first, every count is
//              bounded by the bytes that are there before anything is allocated for it.
// Threads      Stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "swap/layout.hpp"
#include "swap/owner.hpp"

namespace fathom::swap {

// What is committed with a step besides the sections.
struct CommitState {
  std::int64_t step = 0;          // optimizer steps run
  std::int64_t updates = 0;       // of them, not skipped: Adam's t and the schedule's position
  std::uint64_t tokens = 0;       // predictions trained on
  std::uint64_t next_window = 0;  // position in the data
  std::uint64_t seed = 0;         // of every random stream; streams count from (seed, step)
  // Of a dynamic loss scale (config/loss_scale.hpp); remainder 0: there is none.
  double loss_scale = 1;
  std::int64_t scale_iteration = 0, scale_last_overflow = -1, scale_remainder = 0;
  std::uint64_t config_digest = 0;  // XXH3-64 of the resolved configuration
  bool operator==(const CommitState&) const = default;
};

// Where a section's committed bytes are.
struct SlotEntry {
  std::uint64_t generation = 0;  // writes of the section, this one included; 0: it doesn't exist
  std::uint8_t slot = 0;         // 0 or 1
  bool operator==(const SlotEntry&) const = default;
};

struct Superblock {
  StoreId id;
  std::uint64_t chunk_elements = 0;
  SectionBytes sections;
  std::vector<std::uint64_t> unit_elements;
  std::vector<std::uint32_t> chunk_paths;  // of each chunk
  std::uint32_t paths = 0;
  std::string description;  // the caller's; not looked into
};

struct Record {
  StoreId id;
  std::uint64_t sequence = 0;  // of commits, from 1
  CommitState state;
  std::vector<SlotEntry> slots;       // chunk * section_count + section
  std::vector<std::uint64_t> hashes;  // of every block, as BlockHashes orders them
  bool operator==(const Record&) const = default;
};

inline constexpr std::uint64_t data_header_bytes = 2 * MiB;  // the first extent begins here

// Superblock: padded to 4 KiB. `limit`: the bytes that the file has.
std::vector<std::byte> encode(const Superblock& superblock);
Result<Superblock> decode_superblock(std::span<const std::byte> bytes, const std::string& where);
// How long the superblock is (padded) that begins with these 4096 bytes.
Result<std::uint64_t> superblock_bytes(std::span<const std::byte> first_block,
                                       const std::string& where);
// The layout that the superblock describes; every section has space.
Layout layout_of(const Superblock& superblock);

// Records have one size, which follows from the layout; padded to 4 KiB.
std::uint64_t record_bytes(const Layout& layout, std::uint64_t hash_count);
void encode(const Record& record, std::vector<std::byte>& out);
Result<Record> decode_record(std::span<const std::byte> bytes, const Layout& layout,
                             std::uint64_t hash_count, const StoreId& id, const std::string& where);

// One block of 4096 bytes at the beginning of a data file.
struct DataHeader {
  StoreId id;
  std::uint32_t path = 0;
  std::uint64_t slot_bytes = 0;  // bytes of one slot of all this path's extents
  bool operator==(const DataHeader&) const = default;
};
std::vector<std::byte> encode(const DataHeader& header);
Result<DataHeader> decode_data_header(std::span<const std::byte> block, const std::string& where);

}  // namespace fathom::swap
