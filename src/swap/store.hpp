// SPDX-License-Identifier: Apache-2.0
//
// Store: the files behind a Layout, with every block verified.
//
// Purpose      Reads and writes sections of one preallocated file per path through one Queue per
//              path, and proves that what comes back is what was last written there: every 1 MiB
//              block has an XXH3-64 seeded with (chunk, section, generation, block index), so a
//              flipped, torn, stale or misdirected block is an Error that names unit, section, path
//              and offset.
// Modes        Scratch: nameless files, gone with the process. Durable: a job directory per path
//              (durable_files.hpp); commit() makes what is written the state that a later process
//              finds, whatever ends this one.
// Ownership    Owns files and queues. Buffers belong to the kernel until the completion is called.
// Threads      transfer() may be called from any thread; at most one write of a section may be
//              under way at a time, and no read of it meanwhile (the step program guarantees it;
//              asserted). Completions run on a pool or queue thread: short, non-blocking, may call
//              transfer().
//
//   store->transfer({.direction = Direction::read, .chunk = 3, .sections = states_mask,
//                    .buffer = slot, .priority = Priority::prefetch}, [](Result<void> done) { … });
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "aio/arena.hpp"
#include "aio/queue.hpp"
#include "base/thread_pool.hpp"
#include "swap/block_hash.hpp"
#include "swap/layout.hpp"

namespace fathom::swap {

class DurableFiles;  // durable_files.hpp
struct CommitState;  // store_format.hpp

struct StoreOptions {
  std::vector<std::string> paths;  // directories, one per path of the layout
  aio::QueueOptions queue;
  Verify verify = Verify::full;         // sampled: every 16th block, rotating by generation
  std::vector<std::string> unit_names;  // for messages
};

// A read or write of sections of one chunk. In the buffer they follow each other, each padded to
// 4 KiB (Layout::buffer_offset); neighbours in the extent are one request to the device. Padding is
// written as zeros: the Store clears it in the buffer.
struct TransferRequest {
  aio::Direction direction = aio::Direction::read;
  ChunkId chunk = 0;
  SectionMask sections = 0;
  std::byte* buffer = nullptr;
  aio::Priority priority = aio::Priority::demand;
};

// Payload bytes of completed transfers since creation, by section; padding apart. A transfer that
// failed counts nothing.
struct StoreCounters {
  std::array<std::uint64_t, section_count> read{}, written{};
  std::uint64_t padding_read = 0, padding_written = 0;
  // Sections and padding together: what went over the device.
  std::uint64_t total_read() const;
  std::uint64_t total_written() const;
};

class Store {
 public:
  // Scratch mode: nameless files, nothing is left behind. Fails before anything is written when the
  // space is not there. The layout's file_bytes() must match options.paths.
  // `queues`: the caller's, one per path, instead of opened ones; fault injection uses it.
  static Result<std::unique_ptr<Store>> create_scratch(
      Layout layout, const StoreOptions& options, ThreadPool& pool,
      std::vector<std::unique_ptr<aio::Queue>> queues = {});

  // Durable mode over files that were created or opened with Access::run; options.paths is not
  // looked at. The store begins with what is committed in them.
  static Result<std::unique_ptr<Store>> over(DurableFiles files, const StoreOptions& options,
                                             ThreadPool& pool,
                                             std::vector<std::unique_ptr<aio::Queue>> queues = {});

  ~Store();  // drains
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const Layout& layout() const;

  // The memory that transfers will use: registered with the queues where their engine gains by it
  // (the files are already). Other memory may still be used.
  void attach(const aio::Arena& arena);

  // `sections` may name kinds that the format lacks (they are not meant), but no other that is not
  // stored. The completion is never called before transfer() returns on the same thread; a section
  // that was never written, or whose last write failed, is an Error.
  void transfer(const TransferRequest& request, aio::Completion completion);
  Result<void> transfer_and_wait(const TransferRequest& request);  // not from a completion

  // Durable mode: what is written now is the state of `state.step`. On success it is on the device;
  // otherwise the commit before is, nothing may be written any more, and every further commit fails
  // with the same Error. Every section must have been written; no write may be under way.
  Result<void> commit(const CommitState& state);
  const CommitState* committed() const;  // null when nothing is
  const DurableFiles* durable() const;   // null in scratch mode

  void drain();
  StoreCounters counters() const;
  // One line: paths, what the engine of each was set up with, direct or buffered. Not from a
  // completion.
  std::string describe() const;

 private:
  struct State;
  explicit Store(std::unique_ptr<State> state);
  Result<void> open_queues(const StoreOptions& options,
                           std::vector<std::unique_ptr<aio::Queue>> queues);
  std::unique_ptr<State> state_;
};

}  // namespace fathom::swap
