// SPDX-License-Identifier: Apache-2.0
//
// What verification costs: bytes per second of a store with verify full over one with verify off.
//
//   store_bench DIRECTORY [MIB per round, default 512] [ROUNDS, default 7]
//
// Both arms move the same bytes with the same queue options from one arena. They take turns within
// a round, and who goes first alternates, so that a drift of the device favours neither. A third
// arm, off again, shows the noise: its ratio to the second is 1 but for the machine.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "aio/arena.hpp"
#include "base/clock.hpp"
#include "swap/store.hpp"

namespace fathom::swap {
namespace {

constexpr std::uint64_t chunk_elements = 2 * MiB;  // 24 MiB of W, lo, m and v
constexpr std::size_t slots = 4;

struct Rates {
  double write = 0, read = 0;  // bytes per second
};

// Moves every chunk in one direction. Each slot of the arena goes from chunk to chunk by itself, as
// in a ring, so that checksums of some chunks meet the transfers of others.
class Sweep {
 public:
  Sweep(Store& store, const aio::Arena& arena, aio::Direction direction)
      : store_(store), arena_(arena), direction_(direction) {}

  // Bytes per second.
  Result<double> run() {
    const double from = now_seconds();
    for (ChunkId slot = 0; slot < std::min<ChunkId>(slots, chunks()); ++slot) move(slot);
    store_.drain();
    if (failed_) return fail(Error(Errc::io, "run the benchmark").because("a transfer failed"));
    std::uint64_t bytes = 0;
    for (const Chunk& chunk : store_.layout().chunks()) bytes += chunk.bytes;
    return static_cast<double>(bytes) / (now_seconds() - from);
  }

 private:
  ChunkId chunks() const { return store_.layout().end_chunk(0); }

  void move(ChunkId chunk) {
    store_.transfer({.direction = direction_,
                     .chunk = chunk,
                     .sections = store_.layout().chunk(chunk).stored,
                     .buffer = arena_.at(chunk % slots * store_.layout().chunk(0).bytes)},
                    [this, chunk](Result<void> done) {
                      if (!done) failed_ = true;
                      if (done && chunk + slots < chunks()) move(chunk + slots);
                    });
  }

  Store& store_;
  const aio::Arena& arena_;
  const aio::Direction direction_;
  std::atomic<bool> failed_{false};
};

Result<double> sweep(Store& store, const aio::Arena& arena, aio::Direction direction) {
  return Sweep(store, arena, direction).run();
}

Result<Rates> measure(const std::string& directory, std::uint64_t chunks, Verify verify,
                      const aio::Arena& arena, ThreadPool& pool) {
  StoreOptions options;
  options.paths = {directory};
  options.verify = verify;
  FATHOM_ASSIGN(auto store,
                Store::create_scratch(Layout::build({.unit_elements = {chunks * chunk_elements},
                                                     .chunk_elements = chunk_elements,
                                                     .sections = split_bf16_sections}),
                                      options, pool));
  // The first sweep turns unwritten extents into written ones and is not counted.
  FATHOM_CHECK(sweep(*store, arena, aio::Direction::write));
  Rates rates;
  FATHOM_ASSIGN(rates.write, sweep(*store, arena, aio::Direction::write));
  FATHOM_ASSIGN(rates.read, sweep(*store, arena, aio::Direction::read));
  return rates;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

Result<void> run(const std::string& directory, std::uint64_t bytes, int rounds) {
  ThreadPool pool(2);
  const std::uint64_t chunk_bytes = chunk_elements * split_bf16_sections.of(SectionMask{15});
  const std::uint64_t chunks = std::max<std::uint64_t>(1, bytes / chunk_bytes);
  FATHOM_ASSIGN(const aio::Arena arena, aio::Arena::allocate(slots * chunk_bytes));
  // Words that differ, so that no device compresses them.
  std::uint64_t word = 1;
  for (std::byte& byte : arena.bytes()) {
    word = word * 6364136223846793005ULL + 1442695040888963407ULL;
    byte = static_cast<std::byte>(word >> 56);
  }
  constexpr std::array arms = {Verify::full, Verify::off, Verify::off};
  std::array<std::vector<Rates>, arms.size()> seen;
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t turn = 0; turn < arms.size(); ++turn) {
      const std::size_t arm = (turn + static_cast<std::size_t>(round)) % arms.size();
      FATHOM_ASSIGN(const Rates rates, measure(directory, chunks, arms[arm], arena, pool));
      seen[arm].push_back(rates);
    }
  }
  const auto report = [&](const char* what, double Rates::* rate) {
    std::vector<double> cost, noise, off;
    for (std::size_t i = 0; i < seen[0].size(); ++i) {
      cost.push_back(seen[0][i].*rate / seen[1][i].*rate);
      noise.push_back(seen[2][i].*rate / seen[1][i].*rate);
      off.push_back(seen[1][i].*rate);
    }
    const auto [low, high] = std::ranges::minmax(noise);
    fmt::print("{:5}  full/off {:.3f}   off/off {:.3f} ({:.3f} to {:.3f})   off {}\n", what,
               median(cost), median(noise), low, high, format_rate(median(off)));
  };
  fmt::print("{} a sweep, {} rounds, {} pages\n", format_bytes(chunks * chunk_bytes), rounds,
             aio::to_string(arena.page_kind()));
  report("write", &Rates::write);
  report("read", &Rates::read);
  return {};
}

}  // namespace
}  // namespace fathom::swap

int main(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    fmt::print(stderr, "usage: store_bench DIRECTORY [MIB] [ROUNDS]\n");
    return 2;
  }
  const std::uint64_t mib = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 512;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 7;
  if (mib == 0 || rounds < 1) {
    fmt::print(stderr, "MIB and ROUNDS are positive numbers\n");
    return 2;
  }
  const auto done = fathom::swap::run(argv[1], mib * fathom::MiB, rounds);
  if (done) return 0;
  fmt::print(stderr, "{}\n", done.error().message());
  return 1;
}
