// SPDX-License-Identifier: Apache-2.0
//
// What small requests cost the large ones: 64 to 512 KiB among 1 to 16 MiB, against large ones
// alone, and the engines against each other at 1 MiB. Same file, same pages, in alternating order;
// prints medians of ratios with their range, asserts nothing.
//
//   aio_mix_bench DIR [PAIRS [MIB_OF_A_TRIAL]]
#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "aio/engines.hpp"
#include "aio/rates.hpp"
#include "base/clock.hpp"
#include "base/units.hpp"

namespace {

using namespace fathom;
using namespace fathom::aio;

constexpr std::uint64_t file_bytes = 1 * GiB, arena_bytes = 64 * MiB;

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

void print(const char* what, const std::vector<double>& values) {
  const auto [low, high] = std::ranges::minmax(values);
  std::printf("%-46s %.3f (%.3f to %.3f, %zu)\n", what, median(values), low, high, values.size());
}

// Requests of a size each that follow one another through the file, as many outstanding as `most`
// bytes allow. The rate in bytes per second.
Result<double> run(Queue& queue, const File& file, const Arena& arena, Direction direction,
                   const std::vector<std::uint64_t>& sizes, std::uint64_t total) {
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t in_flight = 0;
  std::optional<Error> error;
  const double start = now_seconds();
  std::uint64_t offset = 0, place = 0, sent = 0;
  for (std::size_t i = 0; sent < total; ++i) {
    const std::uint64_t bytes = sizes[i % sizes.size()];
    if (offset + bytes > file.size()) offset = 0;
    if (place + bytes > arena.size()) place = 0;
    {
      std::unique_lock lock(mutex);
      // Half of the arena at a time: a place is used again only when what was there has gone.
      changed.wait(lock, [&] { return in_flight + bytes <= arena.size() / 2; });
      in_flight += bytes;
    }
    queue.submit({.direction = direction,
                  .file = &file,
                  .offset = offset,
                  .buffer = arena.at(place),
                  .bytes = bytes},
                 [&, bytes](Result<void> done) {
                   const std::lock_guard lock(mutex);
                   in_flight -= bytes;
                   if (!done && !error) error = std::move(done).error();
                   changed.notify_one();
                 });
    offset += bytes;
    place += bytes;
    sent += bytes;
  }
  queue.drain();
  if (error) return fail(std::move(*error));
  return static_cast<double>(sent) / (now_seconds() - start);
}

Result<std::unique_ptr<Queue>> open(Engine engine, const File& file, const Arena& arena,
                                    unsigned depth) {
  FATHOM_ASSIGN(auto backend, make_backend(engine, 256));
  auto queue = Queue::over(std::move(backend), {.block_size = 1 * MiB, .queue_depth = depth});
  queue->attach(arena);
  queue->attach(file);
  return queue;
}

Result<void> measure(const std::string& directory, int pairs, std::uint64_t total) {
  FATHOM_ASSIGN(const Arena arena, Arena::allocate(arena_bytes));
  FATHOM_ASSIGN(const File file, File::create_scratch(directory, file_bytes));
  {
    FATHOM_ASSIGN(auto queue, Queue::open(directory, {.queue_depth = 16}));
    FATHOM_CHECK(prepare_file(*queue, file, arena, 4 * MiB));
  }
  std::printf("pages: %s\n", to_string(arena.page_kind()));
  std::mt19937_64 random(5);
  std::vector<std::uint64_t> mixed, large;
  for (int i = 0; i < 64; ++i) {
    mixed.push_back((64 * KiB) << random() % 4);
    mixed.push_back((1 * MiB) << random() % 5);
    large.push_back((1 * MiB) << random() % 5);
  }
  // Neighbours in file and memory, as small tensors of a unit are.
  for (const Direction direction : {Direction::read, Direction::write}) {
    const bool reading = direction == Direction::read;
    std::vector<double> ratios, rates;
    for (int pair = 0; pair < pairs; ++pair) {
      std::array<double, 2> got = {};
      for (const int turn : {0, 1}) {
        const bool with_small = (turn + pair) % 2 == 0;
        FATHOM_ASSIGN(auto queue, open(Engine::io_uring, file, arena, 16));
        FATHOM_ASSIGN(got.at(with_small ? 1 : 0),
                      run(*queue, file, arena, direction, with_small ? mixed : large, total));
      }
      ratios.push_back(got[1] / got[0]);
      rates.push_back(got[0] / 1e9);
    }
    print(reading ? "read: mixed sizes / large alone" : "write: mixed sizes / large alone", ratios);
    print(reading ? "      large alone, GB/s" : "       large alone, GB/s", rates);
  }
  const std::vector<std::uint64_t> mebibyte = {1 * MiB};
  for (const Direction direction : {Direction::read, Direction::write}) {
    std::array<std::vector<double>, 3> rates;
    const std::array engines = {Engine::io_uring, Engine::libaio, Engine::posix};
    for (int round = 0; round < pairs; ++round) {
      for (std::size_t i = 0; i < engines.size(); ++i) {
        const std::size_t which = (i + static_cast<std::size_t>(round)) % engines.size();
        FATHOM_ASSIGN(auto queue, open(engines.at(which), file, arena, 16));
        FATHOM_ASSIGN(const double rate, run(*queue, file, arena, direction, mebibyte, total));
        rates.at(which).push_back(rate / 1e9);
      }
    }
    for (std::size_t i = 0; i < engines.size(); ++i) {
      std::vector<double> ratios;
      for (std::size_t round = 0; round < rates[0].size(); ++round)
        ratios.push_back(rates.at(i)[round] / rates[0][round]);
      const std::string what = std::string(direction == Direction::read ? "read" : "write") +
                               " 1 MiB: " + to_string(engines.at(i));
      print((what + ", GB/s").c_str(), rates.at(i));
      if (i > 0) print((what + " / io_uring").c_str(), ratios);
    }
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: aio_mix_bench DIR [PAIRS [MIB_OF_A_TRIAL]]\n", stderr);
    return 2;
  }
  const int pairs = argc > 2 ? std::max(1, std::atoi(argv[2])) : 10;
  const std::uint64_t total = (argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1024) * MiB;
  const auto done = measure(argv[1], pairs, total);
  if (done) return 0;
  std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return 1;
}
