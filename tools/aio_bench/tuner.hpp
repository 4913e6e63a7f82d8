// SPDX-License-Identifier: Apache-2.0
//
// Tuner: the phases of a run, one after the other.
//
// Purpose      Prepare, noise floor, duplex factor, halving, paired rounds, fio; each with its
//              share of the time and of the write budget.
// Threads      Blocking; `stop` may be set from a signal handler.
// Units        Bytes, bytes per second, seconds.
//
//   FATHOM_ASSIGN(const Outcome outcome, tune(options, preflight, stop, say));
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
  Halving halving;
  std::vector<Candidate> rounds;  // finalists and, last, the default
  Decision decision;
  std::vector<PathRates> paths;
  Comparison fio;
  std::vector<Row> rows;
  std::uint64_t written = 0;
  double seconds = 0;
  std::optional<double> device_share;
  std::vector<std::string> notes;

  const Candidate& chosen() const { return rounds[decision.chosen]; }
  const Candidate& best() const { return rounds[decision.best]; }
  const Candidate& control() const { return rounds.back(); }
};

// `say` hears what is being done, a short line at a time. Errors: those of the bed; interrupted.
Result<Outcome> tune(const Options& options, const Preflight& preflight,
                     const std::atomic<bool>& stop,
                     const std::function<void(const std::string&)>& say);

}  // namespace fathom::aio_bench
