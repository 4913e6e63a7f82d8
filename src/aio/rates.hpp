// SPDX-License-Identifier: Apache-2.0
//
// Rates: how fast a directory's device reads and writes, by a short probe or a timed trial.
//
// Purpose      The planner needs bytes per second before it can place anything. The probe writes a
//              nameless scratch file once with bytes that do not compress, then reads it back, both
//              through a Queue and a huge-page arena, as a training step does.
// Threads      Blocking; one call per device at a time, or the calls measure each other.
// Units        Bytes, seconds, bytes per second.
//
//   FATHOM_ASSIGN(const aio::Rates rates, aio::measure_rates("/mnt/nvme0", 256 * MiB, 1.0));
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "aio/arena.hpp"
#include "aio/file.hpp"
#include "aio/queue.hpp"

namespace fathom::aio {

struct Rates {
  double read = 0, write = 0;  // bytes per second
  double elapsed = 0;          // seconds, preparation included
};

// At most min(bytes, 256 MiB) of scratch space and about `seconds` of I/O (a first pass over the
// file is always completed). Errors: those of File, Arena and Queue.
Result<Rates> measure_rates(const std::string& directory, std::uint64_t bytes, double seconds,
                            const QueueOptions& options = {.queue_depth = 32});

// What a timed trial asks for.
struct Load {
  double read_share = 1;  // of the bytes: 1 reads, 0 writes, between them both at a time
  std::uint64_t block = 1048576;
  double seconds = 1;
  std::uint64_t most_bytes = ~std::uint64_t{0};  // of each lane
  std::function<bool()> stop = {};               // ends it early
};

// Where a trial works: one queue, one file, the buffers it may use (as many requests are
// outstanding as they hold blocks), and where in the file it begins. It runs on from there and
// wraps.
struct Lane {
  Queue* queue = nullptr;
  const File* file = nullptr;
  std::span<std::byte> buffers;
  std::uint64_t start = 0;
};

// What was moved; only what completed counts.
struct Trial {
  std::uint64_t read_bytes = 0, write_bytes = 0;
  double seconds = 0;      // from the start to the last completion
  double cpu_seconds = 0;  // of the whole process, the kernel's work for it included

  std::uint64_t bytes() const { return read_bytes + write_bytes; }
  double rate() const { return seconds > 0 ? static_cast<double>(bytes()) / seconds : 0; }
  double cpu_per_gib() const {
    return bytes() > 0 ? cpu_seconds * 1073741824.0 / static_cast<double>(bytes()) : 0;
  }
};

// One timed stretch in requests of one block. In a mixed load reads and writes take turns by the
// share, each through the file in order, at one priority, so that neither waits for the other.
Result<Trial> run_trial(const Lane& lane, const Load& load);

// The same on several lanes at once, one Trial a lane; CPU time is shared out by bytes.
Result<std::vector<Trial>> run_trials(std::span<const Lane> lanes, const Load& load);

// Writes the whole file once with bytes that do not compress, different in every block, and reports
// the time that the writing took (not the making of the bytes). `stop` ends it early; `each` hears
// of every stretch of the arena's size.
Result<Trial> prepare_file(Queue& queue, const File& file, const Arena& arena, std::uint64_t block,
                           const std::function<bool()>& stop = {},
                           const std::function<void(const Trial&)>& each = {});

// Bytes that no device compresses or deduplicates, different for every seed and position.
void fill_incompressible(std::span<std::byte> bytes, std::uint64_t seed);

}  // namespace fathom::aio
