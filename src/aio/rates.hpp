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

// One timed stretch of `direction` over `file` from its start, wrapping, in requests of one block,
// with as many outstanding as `arena` has blocks. Ends after `seconds`, or after `most_bytes`, or
// when `stop` says so; counts only what completed.
struct Trial {
  std::uint64_t bytes = 0;
  double seconds = 0;
  double rate() const { return seconds > 0 ? static_cast<double>(bytes) / seconds : 0; }
};
Result<Trial> run_trial(Queue& queue, const File& file, const Arena& arena, Direction direction,
                        std::uint64_t block, double seconds, std::uint64_t most_bytes,
                        const std::function<bool()>& stop = {});

// Writes the whole file once with bytes that do not compress, different in every block, and reports
// the time that the writing took (not the making of the bytes). `stop` ends it early.
Result<Trial> prepare_file(Queue& queue, const File& file, const Arena& arena, std::uint64_t block,
                           const std::function<bool()>& stop = {});

// Bytes that no device compresses or deduplicates, different for every seed and position.
void fill_incompressible(std::span<std::byte> bytes, std::uint64_t seed);

}  // namespace fathom::aio
