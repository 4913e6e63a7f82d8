// SPDX-License-Identifier: Apache-2.0
#include "bed.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"

namespace fathom::aio_bench {
namespace {

constexpr std::uint64_t prepare_block = 4 * MiB;

Error interrupted() {
  return Error(Errc::interrupted, "measure").because("interrupted; nothing is left behind");
}

Result<std::unique_ptr<aio::Queue>> queue_for(const Arm& arm, const aio::Arena& arena,
                                              const aio::File& file) {
  FATHOM_ASSIGN(auto backend, aio::make_backend(arm.engine, arm.operations()));
  auto queue = aio::Queue::over(std::move(backend), {.engine = arm.engine,
                                                     .block_size = arm.block,
                                                     .queue_depth = arm.depth,
                                                     .intra_op_parallelism = arm.threads,
                                                     .single_submit = arm.single_submit,
                                                     .overlap_events = arm.overlap_events});
  queue->attach(arena);
  queue->attach(file);
  return queue;
}

}  // namespace

Result<std::unique_ptr<Bed>> Bed::create(const Preflight& preflight,
                                         const std::atomic<bool>& stop) {
  auto bed = std::unique_ptr<Bed>(new Bed(preflight, stop));
  for (const PathFacts& facts : preflight.paths) {
    FATHOM_ASSIGN(aio::File file, aio::File::create_scratch(facts.path, facts.file_bytes));
    FATHOM_ASSIGN(aio::Arena arena, aio::Arena::allocate(preflight.largest_in_flight));
    bed->places_.push_back({&facts, std::move(file), std::move(arena), 0});
  }
  return bed;
}

Result<std::vector<double>> Bed::prepare(const Arm& arm) {
  std::vector<double> rates;
  Arm deep = arm;
  deep.block = prepare_block;
  deep.depth = 8;
  deep.threads = 1;
  for (Place& place : places_) {
    FATHOM_ASSIGN(const auto queue, queue_for(deep, place.arena, place.file));
    FATHOM_ASSIGN(
        const aio::Trial whole,
        aio::prepare_file(
            *queue, place.file, place.arena, prepare_block, [this] { return stop_.load(); },
            [&](const aio::Trial& stretch) { rates.push_back(stretch.rate()); }));
    written_ += whole.write_bytes;
    if (stopped()) return fail(interrupted());
  }
  return rates;
}

Result<aio::Trial> Bed::run(const Arm& arm, const Ask& ask) {
  std::vector<std::unique_ptr<aio::Queue>> queues;
  std::vector<aio::Lane> lanes;
  std::vector<Place*> used;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (ask.only_path >= 0 && static_cast<std::size_t>(ask.only_path) != i) continue;
    Place& place = places_[i];
    FATHOM_ASSIGN(auto queue, queue_for(arm, place.arena, place.file));
    lanes.push_back({.queue = queue.get(),
                     .file = &place.file,
                     .buffers = place.arena.bytes().first(arm.in_flight()),
                     .start = place.at});
    queues.push_back(std::move(queue));
    used.push_back(&place);
  }
  std::uint64_t most = round_up(std::max(ask.bytes, arm.block), arm.block);
  if (ask.bytes == ~std::uint64_t{0}) most = ask.bytes;
  if (ask.read_share < 1) {
    const auto share = static_cast<std::uint64_t>(static_cast<double>(write_left() / lanes.size()) /
                                                  (1 - ask.read_share));
    most = round_down(std::min(most, share), arm.block);
    if (most < arm.block)
      return fail(
          Error(Errc::no_space, "write a trial")
              .on(fmt::format("--max-write-gib {}", static_cast<double>(preflight_.write_budget) /
                                                        static_cast<double>(GiB)))
              .because(fmt::format("{} are written already", format_bytes(written_))));
  }
  std::vector<std::optional<DeviceBytes>> before;
  for (const Place* place : used) before.push_back(device_bytes(place->facts->chain));
  FATHOM_ASSIGN(const auto trials,
                aio::run_trials(lanes, {.read_share = ask.read_share,
                                        .block = arm.block,
                                        .seconds = ask.seconds,
                                        .most_bytes = most,
                                        .stop = [this] { return stop_.load(); }}));
  aio::Trial sum;
  std::uint64_t moved = 0;
  bool counted = true;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    const aio::Trial& trial = trials[i];
    sum.read_bytes += trial.read_bytes;
    sum.write_bytes += trial.write_bytes;
    sum.seconds = std::max(sum.seconds, trial.seconds);
    sum.cpu_seconds += trial.cpu_seconds;
    used[i]->at += std::max(trial.read_bytes, trial.write_bytes);
    const auto after = device_bytes(used[i]->facts->chain);
    counted = counted && before[i] && after;
    if (counted) moved += after->sum() - before[i]->sum();
  }
  written_ += sum.write_bytes;
  if (stopped()) return fail(interrupted());
  add_row(arm, ask.read_share, sum, counted ? std::optional(moved) : std::nullopt, false);
  return sum;
}

void Bed::add_row(const Arm& arm, double read_share, const aio::Trial& trial,
                  std::optional<std::uint64_t> moved, bool fio) {
  counts_ = counts_ && moved;
  asked_ += trial.bytes();
  moved_ += moved.value_or(0);
  std::optional<double> share;
  if (moved && trial.bytes() > 0)
    share = static_cast<double>(*moved) / static_cast<double>(trial.bytes());
  rows_.push_back({phase_, arm, read_share, trial, share, fio});
}

void Bed::add_fio(const Arm& arm, double read_share, const aio::Trial& trial,
                  const std::optional<DeviceBytes>& before) {
  const auto after = device_bytes_now(0);
  std::optional<std::uint64_t> moved;
  if (before && after) moved = after->sum() - before->sum();
  written_ += trial.write_bytes;
  add_row(arm, read_share, trial, moved, true);
}

std::size_t Bed::unproven() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      rows_, [](const Row& row) { return row.device_share && *row.device_share < 0.95; }));
}

std::optional<double> Bed::device_share() const {
  if (!counts_ || asked_ == 0) return std::nullopt;
  return static_cast<double>(moved_) / static_cast<double>(asked_);
}

}  // namespace fathom::aio_bench
