// SPDX-License-Identifier: Apache-2.0
//
// Store::State: what a Store knows and does; internal to the store's sources.
//
// Files        store_transfer.cpp  the course of a transfer
//              store_records.cpp   sections: generations, slots, who reads and writes
//              store_commit.cpp    the durable store's commits
//              store_messages.cpp  names and Errors
// Slots        A scratch store has slot 0 only. In a durable store a section has two; what is
//              committed is never written: the first write after a commit goes to the other slot,
//              and so do further ones until the next commit.
// Threads      What `mutex` guards is said below; the rest never changes after opening.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "swap/durable_files.hpp"
#include "swap/store.hpp"

namespace fathom::swap {

inline constexpr std::uint8_t no_slot = 0xFF;

// What the store knows of one section of one chunk. Guarded by State::mutex.
struct SectionRecord {
  std::uint64_t generation = 0;  // writes begun; 0: never written
  std::uint8_t slot = 0;         // of the last write
  std::uint8_t committed = no_slot;
  bool intact = false;  // the last write completed
  bool writing = false;
  std::uint32_t readers = 0;
};

// A transfer under way. Records are reused, so that the steady state allocates none.
struct Transfer {
  // Neighbours in one slot are one request.
  std::array<aio::Request, section_count> requests;
  std::size_t count = 0;
  std::atomic<std::size_t> left{0};
  aio::Direction direction = aio::Direction::read;
  ChunkId chunk = 0;
  SectionMask sections = 0;
  std::byte* buffer = nullptr;
  std::array<std::uint64_t, section_count> generation{};
  std::array<std::uint64_t, section_count> offset{};  // in the file
  aio::Completion completion;
  Result<void> outcome;
};

struct StorePath {
  std::string directory;
  std::optional<aio::File> scratch;  // absent when the layout puts nothing here
  const aio::File* file = nullptr;   // the scratch file, or the durable one; null as above
  std::unique_ptr<aio::Queue> queue;
};

struct Store::State {
  State(Layout the_layout, const StoreOptions& options, ThreadPool& the_pool, bool durable);

  const Layout layout;
  const std::vector<std::string> unit_names;
  ThreadPool& pool;
  BlockHashes hashes;
  std::optional<DurableFiles> durable;  // its files outlive the queues
  std::vector<StorePath> paths;

  mutable std::mutex mutex;
  std::condition_variable idle;
  std::vector<SectionRecord> records;
  std::vector<std::unique_ptr<Transfer>> free;
  std::size_t outstanding = 0;
  StoreCounters counters;
  std::optional<Error> failure;  // of a commit: nothing may be written any more
  Record commit_record;          // reused

  SectionRecord& record(ChunkId chunk, Section section) {
    return records[chunk * section_count + index(section)];
  }

  // store_transfer.cpp: start → (hash) → submit → transferred → (verify) → finish
  void start(const TransferRequest& request, aio::Completion completion);
  void hash_then_submit(Transfer* transfer);
  void submit(Transfer* transfer);
  void transferred(Transfer* transfer, Result<void> result);
  void verify(Transfer* transfer);
  void finish(Transfer* transfer);
  void clear_padding(const Transfer& transfer) const;
  std::span<const std::byte> section_bytes(const Transfer& transfer, Section section) const;

  // store_records.cpp, under the mutex
  Result<void> begin(Transfer& transfer);
  void end(Transfer& transfer);
  void cut_into_requests(Transfer& transfer, aio::Priority priority) const;
  std::uint64_t section_offset(ChunkId chunk, Section section, std::uint8_t slot) const;

  // store_commit.cpp
  void restore(const Record& committed);
  Result<void> commit(const CommitState& state);

  // store_messages.cpp
  std::string name(ChunkId chunk, SectionMask sections) const;
  std::string place(ChunkId chunk, Section section, std::uint64_t offset) const;
  Error never_written(ChunkId chunk, Section section) const;
  Error mismatch(const Transfer& transfer, Section section, const BlockHashes::Mismatch& bad) const;
};

}  // namespace fathom::swap
