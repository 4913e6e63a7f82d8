// SPDX-License-Identifier: Apache-2.0
#include "tuner.hpp"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <random>

#include <fmt/format.h>
#include <sys/statvfs.h>

#include "aio/memory_limits.hpp"
#include "aio/rates.hpp"
#include "aio/text_file.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/units.hpp"

namespace fathom::aio_bench {
namespace {

constexpr std::uint64_t prepare_block = 4 * MiB;

struct Place {
  const PathFacts* facts;
  aio::File file;
};

std::uint64_t gib(double count) { return static_cast<std::uint64_t>(count * 1024) * MiB; }

Result<PathFacts> look_at(const std::string& path, const Options& options) {
  struct statvfs info{};
  if (::statvfs(path.c_str(), &info) != 0)
    return fail(Error(errno == ENOENT ? Errc::not_found : Errc::bad_config, "look at a path")
                    .on(path)
                    .because_errno(errno)
                    .remedy("name a directory that exists with --path"));
  PathFacts facts;
  facts.path = path;
  facts.chain = aio::device_under(path);
  facts.engines = aio::probe_engines(path);
  facts.free_bytes = std::uint64_t{info.f_bavail} * info.f_frsize;
  facts.file_bytes = round_down(gib(options.size_gib), most_in_flight);
  if (facts.file_bytes > facts.free_bytes)
    return fail(Error(Errc::no_space, "plan the scratch file")
                    .on(path)
                    .because(fmt::format("need {}, have {} on {}", format_bytes(facts.file_bytes),
                                         format_bytes(facts.free_bytes), path))
                    .remedy("lower --size"));
  return facts;
}

// One trial of an arm on one path. A queue of its own: nothing is shared with the trial before.
Result<aio::Trial> trial_of(const Arm& arm, const Place& place, const aio::Arena& arena,
                            aio::Direction direction, double seconds, std::uint64_t most_bytes,
                            const std::function<bool()>& stop) {
  FATHOM_ASSIGN(auto backend, aio::make_backend(arm.engine, arm.depth));
  auto queue =
      aio::Queue::over(std::move(backend),
                       {.engine = arm.engine, .block_size = arm.block, .queue_depth = arm.depth});
  // The arena holds at least as many blocks as the depth, so the queue never waits for requests.
  return aio::run_trial(*queue, place.file, arena, direction, arm.block, seconds, most_bytes, stop);
}

}  // namespace

Result<Preflight> look(const Options& options) {
  Preflight preflight;
  for (const std::string& path : options.paths) {
    FATHOM_ASSIGN(PathFacts facts, look_at(path, options));
    preflight.paths.push_back(std::move(facts));
  }
  for (const aio::Engine engine :
       {aio::Engine::io_uring, aio::Engine::libaio, aio::Engine::posix}) {
    if (options.engine != aio::Engine::automatic && options.engine != engine) continue;
    bool works = true;
    for (const PathFacts& facts : preflight.paths) {
      const auto probe = std::ranges::find(facts.engines, engine, &aio::EngineProbe::engine);
      if (probe->works) continue;
      works = false;
      if (options.engine == engine)
        return fail(Error(Errc::unsupported, "use the engine that was asked for")
                        .on(fmt::format("{} on {}", to_string(engine), facts.path))
                        .because(probe->reason)
                        .remedy("use --engine auto"));
    }
    if (works) preflight.engines.push_back(engine);
  }
  preflight.arms = make_grid(preflight.engines, [&](std::uint64_t block, unsigned depth) {
    for (const PathFacts& facts : preflight.paths)
      depth = std::min(depth, aio::in_flight_limit(facts.chain, block, depth));
    return depth;
  });
  const auto setting = aio::read_text("/sys/kernel/mm/transparent_hugepage/enabled");
  const auto pool = aio::read_integer("/proc/sys/vm/nr_hugepages");
  preflight.huge_pages =
      fmt::format("transparent: {}, hugetlb pool: {} pages",
                  setting ? aio::active_choice(*setting) : "unknown", pool.value_or(0));
  preflight.memory = aio::memory_limit().reason;
  return preflight;
}

Result<Outcome> tune(const Options& options, const Preflight& preflight,
                     const std::atomic<bool>& stop) {
  const auto stopped = [&stop] { return stop.load(); };
  const std::uint64_t write_budget = gib(options.max_write_gib);
  std::uint64_t preparation = 0;
  for (const PathFacts& facts : preflight.paths) preparation += facts.file_bytes;
  if (preparation > write_budget)
    return fail(Error(Errc::bad_config, "prepare the scratch files")
                    .because(fmt::format("they take {}, --max-write-gib allows {}",
                                         format_bytes(preparation), format_bytes(write_budget)))
                    .remedy("raise --max-write-gib or lower --size"));

  Outcome outcome;
  FATHOM_ASSIGN(const aio::Arena arena, aio::Arena::allocate(most_in_flight));
  outcome.pages = arena.page_kind();
  std::vector<Place> places;
  double prepare_seconds = 0;
  for (const PathFacts& facts : preflight.paths) {
    FATHOM_ASSIGN(aio::File file, aio::File::create_scratch(facts.path, facts.file_bytes));
    places.push_back({&facts, std::move(file)});
    FATHOM_ASSIGN(auto backend, aio::make_backend(preflight.engines.front(), 16));
    auto queue =
        aio::Queue::over(std::move(backend), {.block_size = prepare_block, .queue_depth = 16});
    log::info("preparing {} in {}", format_bytes(facts.file_bytes), facts.path);
    FATHOM_ASSIGN(const aio::Trial first,
                  aio::prepare_file(*queue, places.back().file, arena, prepare_block, stopped));
    outcome.written += first.bytes;
    prepare_seconds += first.seconds;
  }
  if (prepare_seconds > 0)
    outcome.prepare_rate = static_cast<double>(outcome.written) / prepare_seconds;

  for (const Arm& arm : preflight.arms) outcome.arms.push_back({arm, {}, {}});
  // The time goes to at least three rounds when it suffices for trials of 50 ms.
  const double start = now_seconds();
  const double trials = static_cast<double>(preflight.arms.size() * preflight.paths.size()) * 2 * 3;
  const double each = std::clamp(options.seconds / trials, 0.05, 0.5);
  std::vector<std::size_t> order(outcome.arms.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::mt19937 random(1);
  const auto time_left = [&] { return now_seconds() - start < options.seconds; };
  // The first round is always completed: an arm that was never tried cannot be judged.
  while (!stopped() && (outcome.rounds == 0 || time_left())) {
    std::ranges::shuffle(order, random);
    for (const std::size_t index : order) {
      if (stopped() || (outcome.rounds > 0 && !time_left())) break;
      const Arm& arm = outcome.arms[index].arm;
      for (const aio::Direction direction : {aio::Direction::read, aio::Direction::write}) {
        double total = 0;
        bool complete = true;
        for (const Place& place : places) {
          std::uint64_t most = ~std::uint64_t{0};
          if (direction == aio::Direction::write) {
            // What is left is shared by the arms, so that early ones cannot use it up.
            most = (write_budget - preparation) / (outcome.arms.size() * places.size() * 3);
            most = std::max(most, arm.in_flight());
            if (outcome.written + most > write_budget) {
              outcome.write_budget_spent = true;
              complete = false;
              break;
            }
          }
          FATHOM_ASSIGN(const aio::Trial trial,
                        trial_of(arm, place, arena, direction, each, most, stopped));
          if (direction == aio::Direction::write) outcome.written += trial.bytes;
          outcome.rows.push_back(
              {outcome.rounds + 1, place.facts->path, arm, direction, trial.bytes, trial.seconds});
          total += trial.rate();
        }
        if (stopped() || !complete) continue;
        (direction == aio::Direction::read ? outcome.arms[index].read : outcome.arms[index].write)
            .push_back(total);
      }
    }
    ++outcome.rounds;
  }
  if (stopped())
    return fail(
        Error(Errc::interrupted, "time the arms").because("interrupted; nothing is left behind"));
  return outcome;
}

}  // namespace fathom::aio_bench
