// SPDX-License-Identifier: Apache-2.0
#include "swap/store.hpp"

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/assert.hpp"

namespace fathom::swap {

namespace {

// What the store knows of one section of one chunk. Guarded by State::mutex.
struct SectionRecord {
  std::uint64_t generation = 0;  // writes begun; 0: never written
  bool intact = false;           // the last write completed
  bool writing = false;
  std::uint32_t readers = 0;
};

// A transfer under way. Records are reused, so that the steady state allocates none.
struct Transfer {
  aio::Request io;
  ChunkId chunk = 0;
  SectionMask sections = 0;
  std::array<std::uint64_t, section_count> generation{};
  aio::Completion completion;
  Result<void> outcome;
};

struct Path {
  std::optional<aio::File> file;  // absent when the layout puts nothing here
  std::unique_ptr<aio::Queue> queue;
};

}  // namespace

std::uint64_t StoreCounters::total_read() const {
  return std::accumulate(read.begin(), read.end(), padding_read);
}

std::uint64_t StoreCounters::total_written() const {
  return std::accumulate(written.begin(), written.end(), padding_written);
}

struct Store::State {
  State(Layout the_layout, const StoreOptions& options, ThreadPool& the_pool)
      : layout(std::move(the_layout)),
        directories(options.paths),
        unit_names(options.unit_names),
        pool(the_pool),
        hashes(layout, options.verify),
        records(layout.chunks().size() * section_count) {}

  const Layout layout;
  const std::vector<std::string> directories;
  const std::vector<std::string> unit_names;
  ThreadPool& pool;
  BlockHashes hashes;
  std::vector<Path> paths;

  mutable std::mutex mutex;
  std::condition_variable idle;
  std::vector<SectionRecord> records;
  std::vector<std::unique_ptr<Transfer>> free;
  std::size_t outstanding = 0;
  StoreCounters counters;

  SectionRecord& record(ChunkId chunk, Section section) {
    return records[chunk * section_count + index(section)];
  }

  void start(const TransferRequest& request, aio::Completion completion);
  void hash_then_submit(Transfer* transfer);
  void submit(Transfer* transfer);
  void transferred(Transfer* transfer, Result<void> result);
  void verify(Transfer* transfer);
  void finish(Transfer* transfer);

  Result<void> begin(Transfer& transfer);
  void end(Transfer& transfer);
  void clear_padding(const Transfer& transfer) const;

  std::span<const std::byte> section_bytes(const Transfer& transfer, Section section) const;
  std::string name(ChunkId chunk, SectionMask sections) const;
  Error never_written(const Transfer& transfer, Section section) const;
  Error mismatch(const Transfer& transfer, Section section, const BlockHashes::Mismatch& bad) const;
};

// --- the course of a transfer: start → (hash) → submit → transferred → (verify) → finish ---------

void Store::State::start(const TransferRequest& request, aio::Completion completion) {
  FATHOM_ASSERT(request.chunk < layout.chunks().size(), "the chunk exists");
  FATHOM_ASSERT(request.buffer != nullptr, "a transfer has a buffer");
  const Chunk& chunk = layout.chunk(request.chunk);
  // Callers name sets like "the states" for every format; kinds that a format lacks are not meant.
  const SectionMask sections = request.sections & layout.sections().present();
  FATHOM_ASSERT((sections & ~chunk.stored) == 0, "every section of a transfer has file space");
  FATHOM_ASSERT(layout.contiguous(request.chunk, sections),
                "the sections of a transfer are neighbours in the extent");
  Section first = Section::v;
  for (const Section section : all_sections) {
    if (!has(sections, section)) continue;
    first = section;
    break;
  }

  Transfer* transfer = nullptr;
  Result<void> begun;
  {
    const std::lock_guard lock(mutex);
    if (free.empty()) free.push_back(std::make_unique<Transfer>());
    transfer = free.back().release();
    free.pop_back();
    ++outstanding;
    transfer->io = {.direction = request.direction,
                    .priority = request.priority,
                    .file = &*paths[chunk.path].file,
                    .offset = chunk.offset + layout.section_offset(request.chunk, first),
                    .buffer = request.buffer,
                    .bytes = layout.padded_bytes(request.chunk, sections)};
    transfer->chunk = request.chunk;
    transfer->sections = sections;
    transfer->completion = std::move(completion);
    transfer->outcome = {};
    begun = begin(*transfer);
  }
  if (!begun) {
    // Never on the caller's stack: it may hold a lock that the completion takes.
    transfer->outcome = std::move(begun);
    pool.post([this, transfer] { finish(transfer); });
    return;
  }
  if (request.direction == aio::Direction::write) {
    clear_padding(*transfer);
    if (hashes.verify() != Verify::off) {
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
  const Path& path = paths[layout.chunk(transfer->chunk).path];
  path.queue->submit(transfer->io, [this, transfer](Result<void> result) {
    transferred(transfer, std::move(result));
  });
}

void Store::State::transferred(Transfer* transfer, Result<void> result) {
  if (!result) {
    transfer->outcome =
        fail(std::move(result.error()).within(name(transfer->chunk, transfer->sections)));
  } else if (transfer->io.direction == aio::Direction::read && hashes.verify() != Verify::off) {
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
    end(*transfer);
    free.emplace_back(transfer);
  }
  completion(std::move(outcome));
  completion = nullptr;  // what it holds must be gone before drain() returns
  const std::lock_guard lock(mutex);
  if (--outstanding == 0) idle.notify_all();
}

// --- bookkeeping, under the mutex
// ------------------------------------------------------------------

Result<void> Store::State::begin(Transfer& transfer) {
  const bool write = transfer.io.direction == aio::Direction::write;
  for (const Section section : all_sections) {
    if (!has(transfer.sections, section)) continue;
    const SectionRecord& kept = record(transfer.chunk, section);
    FATHOM_ASSERT(!kept.writing, "no transfer of a section meets a write of it");
    FATHOM_ASSERT(!write || kept.readers == 0, "no write of a section meets a read of it");
    if (!write && !kept.intact) {
      // Nothing is held yet, so nothing must be given back.
      Error error = never_written(transfer, section);
      transfer.sections = 0;
      return fail(std::move(error));
    }
  }
  for (const Section section : all_sections) {
    if (!has(transfer.sections, section)) continue;
    SectionRecord& kept = record(transfer.chunk, section);
    if (write) {
      kept.writing = true;
      kept.intact = false;
      ++kept.generation;
    } else {
      ++kept.readers;
    }
    transfer.generation[index(section)] = kept.generation;
  }
  return {};
}

void Store::State::end(Transfer& transfer) {
  const bool write = transfer.io.direction == aio::Direction::write;
  const bool done = transfer.outcome.has_value();
  std::uint64_t payload = 0;
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
    payload += bytes;
    (write ? counters.written : counters.read)[index(section)] += bytes;
  }
  if (done)
    (write ? counters.padding_written : counters.padding_read) += transfer.io.bytes - payload;
}

// --- buffers and messages
// --------------------------------------------------------------------------

void Store::State::clear_padding(const Transfer& transfer) const {
  for (const Section section : all_sections) {
    if (!has(transfer.sections, section)) continue;
    const std::uint64_t begin = layout.buffer_offset(transfer.chunk, transfer.sections, section);
    const std::uint64_t payload = layout.payload_bytes(transfer.chunk, section);
    std::memset(transfer.io.buffer + begin + payload, 0,
                layout.padded_bytes(transfer.chunk, section) - payload);
  }
}

std::span<const std::byte> Store::State::section_bytes(const Transfer& transfer,
                                                       Section section) const {
  return {transfer.io.buffer + layout.buffer_offset(transfer.chunk, transfer.sections, section),
          layout.padded_bytes(transfer.chunk, section)};
}

std::string Store::State::name(ChunkId id, SectionMask sections) const {
  const Chunk& chunk = layout.chunk(id);
  std::string list;
  for (const Section section : all_sections)
    if (has(sections, section)) list += (list.empty() ? "" : "|") + std::string(to_string(section));
  const std::string unit = chunk.unit < unit_names.size() ? unit_names[chunk.unit]
                                                          : fmt::format("number {}", chunk.unit);
  return fmt::format("unit {}, section {} of chunk {}", unit, list, id);
}

Error Store::State::never_written(const Transfer& transfer, Section section) const {
  const Chunk& chunk = layout.chunk(transfer.chunk);
  const bool failed = records[transfer.chunk * section_count + index(section)].generation > 0;
  return Error(failed ? Errc::corrupt : Errc::bad_input, "read from the store")
      .on(fmt::format("{}, {} at offset {}", name(transfer.chunk, mask(section)),
                      paths[chunk.path].file->path(),
                      chunk.offset + layout.section_offset(transfer.chunk, section)))
      .because(failed ? "the last write of it failed, so what is there is unknown"
                      : "it was never written")
      .remedy(failed ? "see the error of that write; start the run again"
                     : "load or initialise the unit before reading it");
}

Error Store::State::mismatch(const Transfer& transfer, Section section,
                             const BlockHashes::Mismatch& bad) const {
  const Chunk& chunk = layout.chunk(transfer.chunk);
  const std::uint64_t blocks =
      ceil_div(layout.padded_bytes(transfer.chunk, section), hash_block_bytes);
  const std::uint64_t offset =
      chunk.offset + layout.section_offset(transfer.chunk, section) + bad.block * hash_block_bytes;
  return Error(Errc::corrupt, "verify what was read from the store")
      .on(fmt::format("{}, {} at offset {} (block {} of {})", name(transfer.chunk, mask(section)),
                      paths[chunk.path].file->path(), offset, bad.block, blocks))
      .because(fmt::format("the block is not what write {} put there: its hash is {:016x}, not "
                           "{:016x}; {} of {} blocks looked at differ",
                           transfer.generation[index(section)], bad.found, bad.expected, bad.bad,
                           bad.looked_at))
      .remedy("check the drive's health and memory, and move the store to another device");
}

// --- the public face
// -------------------------------------------------------------------------------

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}

Store::~Store() { drain(); }

Result<std::unique_ptr<Store>> Store::create_scratch(Layout layout, const StoreOptions& options,
                                                     ThreadPool& pool) {
  return create_scratch(std::move(layout), options, pool, {});
}

Result<std::unique_ptr<Store>> Store::create_scratch(
    Layout layout, const StoreOptions& options, ThreadPool& pool,
    std::vector<std::unique_ptr<aio::Queue>> queues) {
  const std::size_t count = options.paths.size();
  FATHOM_ASSERT(layout.file_bytes().size() == count,
                "the layout and the options name as many paths");
  FATHOM_ASSERT(queues.empty() || queues.size() == count, "there is one queue a path");

  // Whatever has been made is closed, and its space free again, when a later step fails.
  auto state = std::make_unique<State>(std::move(layout), options, pool);
  state->paths.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t bytes = state->layout.file_bytes()[i];
    if (bytes == 0) continue;
    FATHOM_ASSIGN(aio::File file, aio::File::create_scratch(options.paths[i], bytes));
    state->paths[i].file.emplace(std::move(file));
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (!queues.empty()) {
      state->paths[i].queue = std::move(queues[i]);
    } else if (state->paths[i].file) {
      FATHOM_ASSIGN(state->paths[i].queue, aio::Queue::open(options.paths[i], options.queue));
    }
    if (state->paths[i].file) state->paths[i].queue->attach(*state->paths[i].file);
  }
  return std::unique_ptr<Store>(new Store(std::move(state)));
}

const Layout& Store::layout() const { return state_->layout; }

void Store::attach(const aio::Arena& arena) {
  for (const Path& path : state_->paths)
    if (path.file) path.queue->attach(arena);
}

void Store::transfer(const TransferRequest& request, aio::Completion completion) {
  state_->start(request, std::move(completion));
}

Result<void> Store::transfer_and_wait(const TransferRequest& request) {
  std::mutex mutex;
  std::condition_variable done;
  std::optional<Result<void>> outcome;
  transfer(request, [&](Result<void> result) {
    // Notified under the lock: the waiter owns what is notified and may leave right after.
    const std::lock_guard lock(mutex);
    outcome = std::move(result);
    done.notify_one();
  });
  std::unique_lock lock(mutex);
  done.wait(lock, [&] { return outcome.has_value(); });
  return std::move(*outcome);
}

void Store::drain() {
  std::unique_lock lock(state_->mutex);
  state_->idle.wait(lock, [&] { return state_->outstanding == 0; });
}

StoreCounters Store::counters() const {
  const std::lock_guard lock(state_->mutex);
  return state_->counters;
}

std::string Store::describe() const {
  std::string text;
  for (std::size_t i = 0; i < state_->paths.size(); ++i) {
    const Path& path = state_->paths[i];
    if (!path.file) continue;
    text += fmt::format("{}{}: {} {}, {}", text.empty() ? "" : "; ", state_->directories[i],
                        format_bytes(path.file->size()), path.queue->describe(),
                        path.file->direct() ? "direct" : "buffered");
  }
  if (text.empty()) text = "nothing on nvme";
  return fmt::format("{}; verify {}", text, to_string(state_->hashes.verify()));
}

}  // namespace fathom::swap
