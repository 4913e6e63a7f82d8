// SPDX-License-Identifier: Apache-2.0
#include "base/assert.hpp"
#include "swap/store_state.hpp"

namespace fathom::swap {

Result<void> Store::State::begin(Transfer& transfer) {
  const bool write = transfer.direction == aio::Direction::write;
  const auto refuse = [&](Error error) {
    transfer.sections = 0;  // nothing is held yet, so nothing must be given back
    return fail(std::move(error));
  };
  if (write && failure) return refuse(*failure);
  for (const Section section : all_sections) {
    if (!has(transfer.sections, section)) continue;
    const SectionRecord& kept = record(transfer.chunk, section);
    FATHOM_ASSERT(!kept.writing, "no transfer of a section meets a write of it");
    FATHOM_ASSERT(!write || kept.readers == 0, "no write of a section meets a read of it");
    if (!write && !kept.intact) return refuse(never_written(transfer.chunk, section));
  }
  for (const Section section : all_sections) {
    if (!has(transfer.sections, section)) continue;
    SectionRecord& kept = record(transfer.chunk, section);
    if (write) {
      kept.writing = true;
      kept.intact = false;
      ++kept.generation;
      if (kept.slot == kept.committed) kept.slot ^= 1;
    } else {
      ++kept.readers;
    }
    transfer.generation[index(section)] = kept.generation;
    transfer.offset[index(section)] = section_offset(transfer.chunk, section, kept.slot);
  }
  return {};
}

void Store::State::end(Transfer& transfer) {
  const bool write = transfer.direction == aio::Direction::write;
  const bool done = transfer.outcome.has_value();
  for (const Section section : all_sections) {
    if (!has(transfer.sections, section)) continue;
    SectionRecord& kept = record(transfer.chunk, section);
    if (write) {
      kept.writing = false;
      kept.intact = done;
    } else {
      --kept.readers;
    }
    if (!done) continue;
    const std::uint64_t bytes = layout.payload_bytes(transfer.chunk, section);
    (write ? counters.written : counters.read)[index(section)] += bytes;
    (write ? counters.padding_written : counters.padding_read) +=
        layout.padded_bytes(transfer.chunk, section) - bytes;
  }
}

std::uint64_t Store::State::section_offset(ChunkId id, Section section, std::uint8_t slot) const {
  const Chunk& chunk = layout.chunk(id);
  const std::uint64_t extent = durable ? durable->slot_offset(chunk, slot) : chunk.offset;
  return extent + layout.section_offset(id, section);
}

void Store::State::cut_into_requests(Transfer& transfer, aio::Priority priority) const {
  transfer.count = 0;
  std::uint64_t buffered = 0;  // bytes of the buffer that are dealt with
  for (const Section section : all_sections) {
    if (!has(transfer.sections, section)) continue;
    const std::uint64_t bytes = layout.padded_bytes(transfer.chunk, section);
    const std::uint64_t offset = transfer.offset[index(section)];
    aio::Request* const last =
        transfer.count == 0 ? nullptr : &transfer.requests[transfer.count - 1];
    if (last != nullptr && last->offset + last->bytes == offset)
      last->bytes += bytes;
    else
      transfer.requests[transfer.count++] = {.direction = transfer.direction,
                                             .priority = priority,
                                             .file = paths[layout.chunk(transfer.chunk).path].file,
                                             .offset = offset,
                                             .buffer = transfer.buffer + buffered,
                                             .bytes = bytes};
    buffered += bytes;
  }
}

}  // namespace fathom::swap
