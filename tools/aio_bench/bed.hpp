// SPDX-License-Identifier: Apache-2.0
//
// Bed: the files, buffers and counters that trials run on.
//
// Purpose      One nameless scratch file a path, written once; one huge-page arena a path; a fresh
//              queue for every trial, so that nothing is shared with the trial before. Counts every
//              byte that is written and refuses to exceed the budget.
// Ownership    Owns files and arenas; nothing is left behind.
// Threads      One.
// Units        Bytes, seconds.
//
//   FATHOM_ASSIGN(const auto bed, Bed::create(options, preflight, stop));
//   FATHOM_CHECK(bed->prepare(…));
//   FATHOM_ASSIGN(const Run run, bed->run(arm, {.read_share = 1, .seconds = 0.1}));
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aio/file.hpp"
#include "aio/rates.hpp"
#include "preflight.hpp"
#include "search.hpp"

namespace fathom::aio_bench {

struct Row {  // of trials.csv
  std::string phase;
  Arm arm;
  double read_share = 1;
  aio::Trial trial;
  // Bytes that the devices moved meanwhile, as a share of what was asked of them: less than 1 means
  // that something else answered. Nothing where the kernel does not count.
  std::optional<double> device_share;
  bool fio = false;  // fio's trial, not ours
};

struct Ask {
  double read_share = 1;
  double seconds = 0.1;
  std::uint64_t bytes = ~std::uint64_t{0};  // of each path at most
  int only_path = -1;                       // -1: all paths at once
};

class Bed {
 public:
  static Result<std::unique_ptr<Bed>> create(const Preflight& preflight,
                                             const std::atomic<bool>& stop);

  // Writes every file once. The rates of the stretches tell where a drive's fast cache ends.
  Result<std::vector<double>> prepare(const Arm& arm);

  // The trials of all paths together as one. Errors: interrupted when told to stop, no_space when
  // the write budget does not allow it.
  Result<aio::Trial> run(const Arm& arm, const Ask& ask);

  void set_phase(std::string phase) { phase_ = std::move(phase); }
  const std::vector<Row>& rows() const { return rows_; }
  std::uint64_t written() const { return written_; }
  std::uint64_t write_left() const { return preflight_.write_budget - written_; }
  // A trial that fio made on path 0; its writes count.
  void add_fio(const Arm& arm, double read_share, const aio::Trial& trial,
               const std::optional<DeviceBytes>& before);
  std::optional<DeviceBytes> device_bytes_now(std::size_t path) const {
    return device_bytes(places_[path].facts->chain);
  }
  const aio::File& file(std::size_t path) const { return places_[path].file; }
  const Preflight& preflight() const { return preflight_; }
  bool stopped() const { return stop_.load(); }
  const std::atomic<bool>& stop_flag() const { return stop_; }

  // Bytes that the devices moved during trials, as a share of what was asked of them; nothing where
  // the kernel does not count.
  std::optional<double> device_share() const;
  // Trials for which the devices moved less than 95 % of what was asked.
  std::size_t unproven() const;

 private:
  struct Place {
    const PathFacts* facts = nullptr;
    aio::File file;
    aio::Arena arena;
    std::uint64_t at = 0;  // where the next trial begins
  };
  Bed(const Preflight& preflight, const std::atomic<bool>& stop)
      : preflight_(preflight), stop_(stop) {}

  void add_row(const Arm& arm, double read_share, const aio::Trial& trial,
               std::optional<std::uint64_t> moved, bool fio);

  const Preflight& preflight_;
  const std::atomic<bool>& stop_;
  std::vector<Place> places_;
  std::vector<Row> rows_;
  std::string phase_;
  std::uint64_t written_ = 0, asked_ = 0, moved_ = 0;
  bool counts_ = true;
};

}  // namespace fathom::aio_bench
