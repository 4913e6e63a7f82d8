// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "swap/store_state.hpp"

namespace fathom::swap {

std::string Store::State::name(ChunkId id, SectionMask sections) const {
  const Chunk& chunk = layout.chunk(id);
  std::string list;
  for (const Section section : all_sections)
    if (has(sections, section)) list += (list.empty() ? "" : "|") + std::string(to_string(section));
  const std::string unit = chunk.unit < unit_names.size() ? unit_names[chunk.unit]
                                                          : fmt::format("number {}", chunk.unit);
  return fmt::format("unit {}, section {} of chunk {}", unit, list, id);
}

std::string Store::State::place(ChunkId chunk, Section section, std::uint64_t offset) const {
  return fmt::format("{}, {} at offset {}", name(chunk, mask(section)),
                     paths[layout.chunk(chunk).path].file->path(), offset);
}

Error Store::State::never_written(ChunkId chunk, Section section) const {
  const SectionRecord& kept = records[chunk * section_count + index(section)];
  const bool failed = kept.generation > 0;
  return Error(failed ? Errc::corrupt : Errc::bad_input, "read from the store")
      .on(place(chunk, section, section_offset(chunk, section, kept.slot)))
      .because(failed ? "the last write of it failed, so what is there is unknown"
                      : "it was never written")
      .remedy(failed ? "see the error of that write; start the run again"
                     : "load or initialise the unit before reading it");
}

Error Store::State::mismatch(const Transfer& transfer, Section section,
                             const BlockHashes::Mismatch& bad) const {
  const std::uint64_t blocks =
      ceil_div(layout.padded_bytes(transfer.chunk, section), hash_block_bytes);
  const std::uint64_t offset = transfer.offset[index(section)] + bad.block * hash_block_bytes;
  return Error(Errc::corrupt, "verify what was read from the store")
      .on(fmt::format("{} (block {} of {})", place(transfer.chunk, section, offset), bad.block,
                      blocks))
      .because(fmt::format("the block is not what write {} put there: its hash is {:016x}, not "
                           "{:016x}; {} of {} blocks looked at differ",
                           transfer.generation[index(section)], bad.found, bad.expected, bad.bad,
                           bad.looked_at))
      .remedy("check the drive's health and memory, and move the store to another device");
}

}  // namespace fathom::swap
