// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "base/assert.hpp"
#include "swap/store_state.hpp"

namespace fathom::swap {

void Store::State::start(const TransferRequest& request, aio::Completion completion) {
  FATHOM_ASSERT(request.chunk < layout.chunks().size(), "the chunk exists");
  FATHOM_ASSERT(request.buffer != nullptr, "a transfer has a buffer");
  // Callers name sets like "the states" for every format; kinds that a format lacks are not meant.
  const SectionMask sections = request.sections & layout.sections().present();
  FATHOM_ASSERT(sections != 0 && (sections & ~layout.chunk(request.chunk).stored) == 0,
                "every section of a transfer has file space");
  Transfer* transfer = nullptr;
  Result<void> begun;
  {
    const std::lock_guard lock(mutex);
    if (free.empty()) free.push_back(std::make_unique<Transfer>());
    transfer = free.back().release();
    free.pop_back();
    ++outstanding;
    transfer->direction = request.direction;
    transfer->chunk = request.chunk;
    transfer->sections = sections;
    transfer->buffer = request.buffer;
    transfer->completion = std::move(completion);
    transfer->outcome = {};
    begun = begin(*transfer);
    if (begun) cut_into_requests(*transfer, request.priority);
  }
  if (!begun) {
    // Never on the caller's stack: it may hold a lock that the completion takes.
    transfer->outcome = std::move(begun);
    pool.post([this, transfer] { finish(transfer); });
    return;
  }
  if (request.direction == aio::Direction::write) {
    clear_padding(*transfer);
    if (hashes.records()) {
      pool.post([this, transfer] { hash_then_submit(transfer); });
      return;
    }
  }
  submit(transfer);
}

void Store::State::hash_then_submit(Transfer* transfer) {
  for (const Section section : all_sections)
    if (has(transfer->sections, section))
      hashes.record(transfer->chunk, section, transfer->generation[index(section)],
                    section_bytes(*transfer, section), pool);
  submit(transfer);
}

void Store::State::submit(Transfer* transfer) {
  aio::Queue& queue = *paths[layout.chunk(transfer->chunk).path].queue;
  const std::size_t count = transfer->count;
  transfer->left.store(count);
  // The last completion may come before the loop ends: nothing of the transfer is read after its
  // last submission.
  for (std::size_t i = 0; i < count; ++i)
    queue.submit(transfer->requests[i], [this, transfer](Result<void> result) {
      transferred(transfer, std::move(result));
    });
}

void Store::State::transferred(Transfer* transfer, Result<void> result) {
  if (!result) {
    const std::lock_guard lock(mutex);
    if (transfer->outcome)
      transfer->outcome =
          fail(std::move(result.error()).within(name(transfer->chunk, transfer->sections)));
  }
  if (transfer->left.fetch_sub(1) != 1) return;
  if (transfer->outcome && transfer->direction == aio::Direction::read &&
      hashes.verify() != Verify::off) {
    pool.post([this, transfer] {
      verify(transfer);
      finish(transfer);
    });
    return;
  }
  finish(transfer);
}

void Store::State::verify(Transfer* transfer) {
  for (const Section section : all_sections) {
    if (!has(transfer->sections, section)) continue;
    const auto bad = hashes.check(transfer->chunk, section, transfer->generation[index(section)],
                                  section_bytes(*transfer, section), pool);
    if (!bad) continue;
    transfer->outcome = fail(mismatch(*transfer, section, *bad));
    return;
  }
}

void Store::State::finish(Transfer* transfer) {
  aio::Completion completion = std::move(transfer->completion);
  Result<void> outcome = std::move(transfer->outcome);
  {
    const std::lock_guard lock(mutex);
    transfer->outcome = {};
    if (!outcome) transfer->outcome = fail(outcome.error());
    end(*transfer);
    free.emplace_back(transfer);
  }
  completion(std::move(outcome));
  completion = nullptr;  // what it holds must be gone before drain() returns
  const std::lock_guard lock(mutex);
  if (--outstanding == 0) idle.notify_all();
}

void Store::State::clear_padding(const Transfer& transfer) const {
  for (const Section section : all_sections) {
    if (!has(transfer.sections, section)) continue;
    const std::uint64_t begin = layout.buffer_offset(transfer.chunk, transfer.sections, section);
    const std::uint64_t payload = layout.payload_bytes(transfer.chunk, section);
    std::memset(transfer.buffer + begin + payload, 0,
                layout.padded_bytes(transfer.chunk, section) - payload);
  }
}

std::span<const std::byte> Store::State::section_bytes(const Transfer& transfer,
                                                       Section section) const {
  return {transfer.buffer + layout.buffer_offset(transfer.chunk, transfer.sections, section),
          layout.padded_bytes(transfer.chunk, section)};
}

}  // namespace fathom::swap
