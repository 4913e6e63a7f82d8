// SPDX-License-Identifier: Apache-2.0
//
// What the queue costs: 1 MiB operations through a Queue beside a plain loop of pread on one
// thread, the same file and the same huge pages. Prints rates, asserts nothing.
#include <filesystem>
#include <string>

#include <benchmark/benchmark.h>
#include <unistd.h>

#include "aio/arena.hpp"
#include "aio/engines.hpp"
#include "aio/file.hpp"
#include "aio/rates.hpp"
#include "base/units.hpp"

namespace {

using namespace fathom;
using namespace fathom::aio;

constexpr std::uint64_t file_bytes = 256 * MiB, block = 1 * MiB;

// One written scratch file and one arena for all benchmarks.
struct Bed {
  Arena arena;
  File file;
  std::string problem;

  Bed() {
    if (auto made = prepare(); !made) problem = made.error().message();
  }
  Result<void> prepare() {
    const std::string directory = std::filesystem::temp_directory_path();
    FATHOM_ASSIGN(arena, Arena::allocate(32 * MiB));
    FATHOM_ASSIGN(file, File::create_scratch(directory, file_bytes));
    FATHOM_ASSIGN(auto queue, Queue::open(directory, {.block_size = block, .queue_depth = 16}));
    FATHOM_CHECK(prepare_file(*queue, file, arena, block));
    return {};
  }
};

Bed& bed() {
  static Bed instance;
  return instance;
}

void plain_read(benchmark::State& state) {
  if (!bed().problem.empty()) return state.SkipWithError(bed().problem.c_str());
  std::uint64_t at = 0;
  for (auto _ : state) {
    const auto got = ::pread(bed().file.fd(), bed().arena.at(0), block, static_cast<off_t>(at));
    if (got != static_cast<ssize_t>(block)) return state.SkipWithError("short read");
    at = (at + block) % file_bytes;
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * block));
}

void queue_transfer(benchmark::State& state, Engine engine, Direction direction) {
  if (!bed().problem.empty()) return state.SkipWithError(bed().problem.c_str());
  const auto depth = static_cast<unsigned>(state.range(0));
  auto backend = make_backend(engine, depth);
  if (!backend) return state.SkipWithError(backend.error().message().c_str());
  auto queue = Queue::over(std::move(*backend), {.block_size = block, .queue_depth = depth});
  std::uint64_t moved = 0;
  for (auto _ : state) {
    const auto trial =
        run_trial({.queue = queue.get(), .file = &bed().file, .buffers = bed().arena.bytes()},
                  {.read_share = direction == Direction::read ? 1.0 : 0.0,
                   .block = block,
                   .seconds = 1e9,
                   .most_bytes = file_bytes});
    if (!trial) return state.SkipWithError(trial.error().message().c_str());
    moved += trial->bytes();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(moved));
}

BENCHMARK(plain_read)->UseRealTime();
#define FATHOM_QUEUE_BENCH(name, engine, direction) \
  BENCHMARK_CAPTURE(queue_transfer, name, engine, direction)->Arg(1)->Arg(4)->Arg(16)->UseRealTime()
FATHOM_QUEUE_BENCH(io_uring_read, Engine::io_uring, Direction::read);
FATHOM_QUEUE_BENCH(libaio_read, Engine::libaio, Direction::read);
FATHOM_QUEUE_BENCH(posix_read, Engine::posix, Direction::read);
FATHOM_QUEUE_BENCH(io_uring_write, Engine::io_uring, Direction::write);

}  // namespace

BENCHMARK_MAIN();
