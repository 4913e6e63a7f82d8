// SPDX-License-Identifier: Apache-2.0
//
// Search: which arm to recommend, from noisy trials. Pure but for the measuring, which is the
// caller's.
//
// Purpose      Interleaved successive halving finds the few arms worth a closer look; paired rounds
//              of those and the default decide. Drift of the machine hits all arms alike, because
//              every round visits its arms in a new random order and only ratios to the default,
//              measured beside them, are compared.
// Units        Seconds of a predicted step; ratios default / arm, so that more than 1 is better.
//
//   FATHOM_ASSIGN(auto finalists, halve(grid, control, engines, measure, schedule));
//   FATHOM_ASSIGN(const auto rounds, pair_up(finalists, control, measure, 10, seed));
//   const Decision decision = decide(rounds, noise);
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "arm.hpp"
#include "base/result.hpp"
#include "statistics.hpp"

namespace fathom::aio_bench {

// One measurement of an arm: both directions.
struct Sample {
  double seconds = 0;  // of a predicted step
  Rates rates = {};
  double cpu_per_gib = 0;
};
using Measure = std::function<Result<Sample>(const Arm&)>;

struct Candidate {
  Arm arm;
  std::vector<double> ratios;  // default / arm, of each measurement
  std::vector<Sample> samples;
  double score() const { return median(ratios); }
  Rates rates() const;  // medians
  double cpu_per_gib() const;
};

struct Schedule {
  std::size_t finalists = 5;
  std::uint64_t seed = 1;
  // Asked between measurements: no further round begins when there is no time. The first round is
  // always completed, because an arm that was never tried cannot be judged.
  std::function<bool()> out_of_time = {};
};

struct Halving {
  std::vector<Candidate> all;          // every arm that was tried, in the order of the grid
  std::vector<std::size_t> finalists;  // into `all`, best first
  std::size_t measurements = 0, rounds = 0;
};

// Each round measures the survivors, with the control before and after every few of them, and keeps
// the better half. After the second round the neighbours of the best three (other engines,
// single_submit, overlap_events) join.
Result<Halving> halve(std::span<const Arm> grid, const Arm& control,
                      const std::vector<aio::Engine>& engines, const Measure& measure,
                      const Schedule& schedule);

// `rounds` measurements of each arm and the control, in a new order every round; fewer, but at
// least `least_rounds`, when there is no time. The control is the last of the result, with ratios
// of 1.
inline constexpr std::size_t least_rounds = 4;
Result<std::vector<Candidate>> pair_up(std::span<const Arm> arms, const Arm& control,
                                       const Measure& measure, std::size_t rounds,
                                       std::uint64_t seed,
                                       const std::function<bool()>& out_of_time = {});

struct Decision {
  std::size_t chosen = 0, best = 0;      // into the rounds
  std::vector<Interval> intervals = {};  // of the ratios, 95 %
  bool keeps_default = false;
  bool noisy = false;  // differences below `claimed` mean nothing
  double claimed = 0;  // 2 × MAD of the machine's noise, as a share
};

inline constexpr double tolerance = 0.03;

// The cheapest arm (in-flight bytes, then threads, then CPU) among those whose median is within
// `tolerance` of the best's or, where intervals are wider than that, cannot be told from it; the
// default, if it is one of them.
Decision decide(std::span<const Candidate> rounds, const Noise& noise, std::uint64_t seed);

}  // namespace fathom::aio_bench
