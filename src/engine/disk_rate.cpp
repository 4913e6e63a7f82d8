// SPDX-License-Identifier: Apache-2.0
#include "engine/disk_rate.hpp"

#include <algorithm>
#include <vector>

#include "aio/arena.hpp"
#include "aio/file.hpp"
#include "aio/rates.hpp"
#include "base/units.hpp"

namespace fathom::engine {
namespace {

constexpr std::uint64_t probe_bytes = 128 * MiB;
constexpr int rounds = 5;
constexpr double stretch_seconds = 0.12;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

Result<DiskRate> measure_disk(const std::string& directory, const aio::QueueOptions& options) {
  const std::uint64_t block = options.block_size;
  const std::uint64_t size = std::max(block, round_down(probe_bytes, block));
  FATHOM_ASSIGN(auto queue, aio::Queue::open(directory, options));
  FATHOM_ASSIGN(const aio::File file, aio::File::create_scratch(directory, size));
  const std::uint64_t depth = std::uint64_t{options.queue_depth} * options.intra_op_parallelism;
  FATHOM_ASSIGN(const aio::Arena arena,
                aio::Arena::allocate(block * std::min(depth, size / block)));
  // Blocks that were never written cost less to read and more to write than later.
  FATHOM_CHECK(aio::prepare_file(*queue, file, arena, block));
  aio::Lane lane{.queue = queue.get(), .file = &file, .buffers = arena.bytes()};
  std::vector<double> read, write, duplex;
  for (int round = 0; round < rounds; ++round) {
    const auto stretch = [&](double share) {
      return aio::run_trial(lane,
                            {.read_share = share, .block = block, .seconds = stretch_seconds});
    };
    FATHOM_ASSIGN(const aio::Trial reads, stretch(1));
    FATHOM_ASSIGN(const aio::Trial writes, stretch(0));
    FATHOM_ASSIGN(const aio::Trial both, stretch(0.5));
    read.push_back(reads.rate());
    write.push_back(writes.rate());
    // What both took, against one after the other at the rates just seen.
    const double alone = static_cast<double>(both.read_bytes) / reads.rate() +
                         static_cast<double>(both.write_bytes) / writes.rate();
    duplex.push_back(both.seconds > 0 ? alone / both.seconds - 1 : 0);
  }
  return DiskRate{median(read), median(write), std::clamp(median(duplex), 0.0, 1.0)};
}

}  // namespace fathom::engine
