// SPDX-License-Identifier: Apache-2.0
//
// Tuner: the phases of a run, one after the other.
//
// Purpose      Prepare, noise floor, duplex factor, latency, halving, paired rounds, fio; each with
//              its share of the time and of the write budget.
// Threads      Blocking; `stop` may be set from a signal handler.
// Units        Bytes, bytes per second, seconds.
//
//   Outcome outcome;
//   FATHOM_CHECK(tune(options, preflight, stop, say, outcome));
//   outcome.rounds[outcome.decision.chosen].arm
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bed.hpp"
#include "fio.hpp"
#include "preflight.hpp"
#include "search.hpp"

namespace fathom::aio_bench {

struct PathRates {
  std::string path;
  Rates rates;  // alone, with the chosen settings
};

struct Outcome {
  std::vector<double> preparation;   // bytes per second of each stretch of the first writing
  std::optional<std::size_t> cliff;  // the stretch from which on writing was slower for good
  Noise noise;                       // of the predicted step time with the default
  double duplex = 0;                 // 0 … 1
  double latency = 0;                // of one transfer beyond its bytes, seconds
  std::vector<Candidate> seen;       // every arm that was measured, without ratios
  bool decided = false;              // rounds and decision are there
  bool interrupted = false;
  Halving halving;
  std::vector<Candidate> rounds;  // finalists and, last, the default
  Decision decision;
  std::vector<PathRates> paths;
  Comparison fio;
  std::vector<Row> rows;
  std::uint64_t written = 0;
  double seconds = 0;
  std::optional<double> device_share;
  std::size_t unproven = 0;  // trials for which the device moved less than was asked
  std::vector<std::string> notes;

  const Candidate& chosen() const { return rounds[decision.chosen]; }
  const Candidate& best() const { return rounds[decision.best]; }
  const Candidate& control() const { return rounds.back(); }
};

// What is being done, and the seconds left of the time asked for.
using Progress = std::function<void(const std::string& doing, double left)>;

// `outcome` has what was found also when an Error ends it. Errors: those of the bed; interrupted.
Result<void> tune(const Options& options, const Preflight& preflight, const std::atomic<bool>& stop,
                  const Progress& say, Outcome& outcome);

}  // namespace fathom::aio_bench
