// SPDX-License-Identifier: Apache-2.0
#include "swap/store_reader.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "swap/block_hash.hpp"

namespace fathom::swap {

StoreReader::StoreReader(DurableFiles files, FileCalls& calls)
    : files_(std::move(files)), calls_(&calls) {
  std::size_t total = 0;
  for (ChunkId chunk = 0; chunk < layout().chunks().size(); ++chunk)
    for (const Section section : all_sections) {
      first_hash_.push_back(total);
      if (has(layout().chunk(chunk).stored, section))
        total += ceil_div(layout().padded_bytes(chunk, section), hash_block_bytes);
    }
}

Result<StoreReader> StoreReader::open(const std::vector<std::string>& directories, Access access,
                                      FileCalls& calls, double patience) {
  FATHOM_ASSIGN(DurableFiles files, DurableFiles::open(directories, access, calls, patience));
  if (!files.committed())
    return fail(Error(Errc::not_found, "read a durable store")
                    .on(files.journal_path())
                    .because("nothing was ever committed to it")
                    .remedy("start the run again"));
  return StoreReader(std::move(files), calls);
}

std::string StoreReader::path(ChunkId chunk) const {
  return files_.file(layout().chunk(chunk).path)->path();
}

std::uint64_t StoreReader::offset(ChunkId chunk, Section section) const {
  return files_.slot_offset(layout().chunk(chunk), slot(chunk, section).slot) +
         layout().section_offset(chunk, section);
}

std::string StoreReader::place(ChunkId chunk, Section section, std::uint64_t block) const {
  const std::uint32_t unit = layout().chunk(chunk).unit;
  return fmt::format("unit {}, section {} of chunk {}, {} at offset {} (block {} of {})",
                     unit < unit_names_.size() ? unit_names_[unit] : fmt::format("number {}", unit),
                     to_string(section), chunk, path(chunk),
                     offset(chunk, section) + block * hash_block_bytes, block,
                     ceil_div(layout().padded_bytes(chunk, section), hash_block_bytes));
}

Result<std::vector<std::byte>> StoreReader::read(ChunkId chunk, Section section) const {
  std::vector<std::byte> bytes(layout().padded_bytes(chunk, section));
  // The file is open for direct I/O, which wants an aligned buffer.
  const std::unique_ptr<void, decltype(&std::free)> aligned(
      std::aligned_alloc(io_alignment, hash_block_bytes), &std::free);
  const SlotEntry& entry = slot(chunk, section);
  const std::uint64_t* const hashes =
      record().hashes.data() + first_hash_[chunk * section_count + index(section)];
  std::uint64_t bad = 0, blocks = 0, first_bad = 0, first_found = 0;
  for (std::uint64_t at = 0; at < bytes.size(); at += hash_block_bytes, ++blocks) {
    const std::span<std::byte> block(static_cast<std::byte*>(aligned.get()),
                                     std::min<std::uint64_t>(hash_block_bytes, bytes.size() - at));
    if (calls_->read_at(files_.file(layout().chunk(chunk).path)->fd(), block,
                        offset(chunk, section) + at) != 0)
      return fail(Error(Errc::io, "read the store")
                      .on(place(chunk, section, blocks))
                      .because_errno(errno)
                      .remedy("check the disk"));
    std::ranges::copy(block, bytes.begin() + static_cast<std::ptrdiff_t>(at));
    const std::uint64_t found =
        block_hash(block, block_seed(chunk, section, entry.generation, blocks));
    if (found == hashes[blocks]) continue;
    if (bad++ != 0) continue;
    first_bad = blocks;
    first_found = found;
  }
  if (bad == 0) return bytes;
  return fail(
      Error(Errc::corrupt, "verify what was read from the store")
          .on(place(chunk, section, first_bad))
          .because(fmt::format("the block is not what write {} put there: its hash is {:016x}, not "
                               "{:016x}; {} of {} blocks differ",
                               entry.generation, first_found, hashes[first_bad], bad, blocks))
          .remedy("check the drive's health and memory; go on from another checkpoint"));
}

}  // namespace fathom::swap
