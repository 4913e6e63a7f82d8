// SPDX-License-Identifier: Apache-2.0
#include "search.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

namespace fathom::aio_bench {
namespace {

constexpr std::size_t between_controls = 6;

std::vector<std::size_t> shuffled(std::size_t count, std::mt19937_64& random) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::shuffle(order, random);
  return order;
}

void record(Candidate& candidate, const Sample& sample, double control_seconds) {
  candidate.samples.push_back(sample);
  candidate.ratios.push_back(sample.seconds > 0 ? control_seconds / sample.seconds : 0);
}

// Measures every survivor once, a few at a time between two looks at the control.
Result<void> run_round(std::vector<Candidate>& all, const std::vector<std::size_t>& alive,
                       const Arm& control, const Measure& measure, std::mt19937_64& random,
                       std::size_t& measurements) {
  FATHOM_ASSIGN(Sample before, measure(control));
  ++measurements;
  const std::vector<std::size_t> order = shuffled(alive.size(), random);
  for (std::size_t at = 0; at < order.size(); at += between_controls) {
    const std::size_t end = std::min(order.size(), at + between_controls);
    std::vector<Sample> samples;
    for (std::size_t i = at; i < end; ++i) {
      FATHOM_ASSIGN(const Sample sample, measure(all[alive[order[i]]].arm));
      samples.push_back(sample);
    }
    FATHOM_ASSIGN(const Sample after, measure(control));
    measurements += samples.size() + 1;
    const double beside = (before.seconds + after.seconds) / 2;
    for (std::size_t i = at; i < end; ++i) record(all[alive[order[i]]], samples[i - at], beside);
    before = after;
  }
  return {};
}

void rank(const std::vector<Candidate>& all, std::vector<std::size_t>& alive) {
  std::ranges::stable_sort(
      alive, [&](std::size_t a, std::size_t b) { return all[a].score() > all[b].score(); });
}

}  // namespace

Rates Candidate::rates() const {
  std::vector<double> read, write;
  for (const Sample& sample : samples) {
    read.push_back(sample.rates.read);
    write.push_back(sample.rates.write);
  }
  return {median(std::move(read)), median(std::move(write))};
}

double Candidate::cpu_per_gib() const {
  std::vector<double> cpu;
  for (const Sample& sample : samples) cpu.push_back(sample.cpu_per_gib);
  return median(std::move(cpu));
}

Result<Halving> halve(std::span<const Arm> grid, const Arm& control,
                      const std::vector<aio::Engine>& engines, const Measure& measure,
                      const Schedule& schedule) {
  std::mt19937_64 random(schedule.seed);
  Halving halving;
  std::vector<std::size_t> alive;
  for (const Arm& arm : grid) {
    if (arm == control) continue;  // it is measured as the control, and again in the end
    alive.push_back(halving.all.size());
    halving.all.push_back({.arm = arm, .ratios = {}, .samples = {}});
  }
  bool joined = false;
  while (!alive.empty()) {
    // The fewer are left, the closer they are: later rounds look more often.
    const std::size_t looks = halving.rounds == 0 ? 1 : halving.rounds <= 2 ? 2 : 3;
    for (std::size_t look = 0; look < looks; ++look) {
      if (halving.rounds > 0 && schedule.out_of_time && schedule.out_of_time()) break;
      FATHOM_CHECK(run_round(halving.all, alive, control, measure, random, halving.measurements));
    }
    ++halving.rounds;
    rank(halving.all, alive);
    const bool late = schedule.out_of_time && schedule.out_of_time();
    if (alive.size() <= schedule.finalists || late) break;
    alive.resize(std::max(schedule.finalists, (alive.size() + 1) / 2));
    if (halving.rounds == 2 && !joined) {
      joined = true;
      const std::size_t leaders = std::min<std::size_t>(3, alive.size());
      for (std::size_t i = 0; i < leaders; ++i) {
        for (const Arm& arm : variants(halving.all[alive[i]].arm, engines)) {
          const bool known = std::ranges::any_of(
              halving.all, [&](const Candidate& other) { return other.arm == arm; });
          if (known || arm == control) continue;
          alive.push_back(halving.all.size());
          halving.all.push_back({.arm = arm, .ratios = {}, .samples = {}});
        }
      }
    }
  }
  std::erase_if(alive, [&](std::size_t i) { return halving.all[i].ratios.empty(); });
  alive.resize(std::min(alive.size(), schedule.finalists));
  halving.finalists = std::move(alive);
  return halving;
}

Result<std::vector<Candidate>> pair_up(std::span<const Arm> arms, const Arm& control,
                                       const Measure& measure, std::size_t rounds,
                                       std::uint64_t seed,
                                       const std::function<bool()>& out_of_time) {
  std::mt19937_64 random(seed);
  std::vector<Candidate> candidates;
  for (const Arm& arm : arms)
    if (!(arm == control)) candidates.push_back({.arm = arm, .ratios = {}, .samples = {}});
  candidates.push_back({.arm = control, .ratios = {}, .samples = {}});
  for (std::size_t round = 0; round < rounds; ++round) {
    if (round >= least_rounds && out_of_time && out_of_time()) break;
    std::vector<Sample> samples(candidates.size());
    for (const std::size_t i : shuffled(candidates.size(), random)) {
      FATHOM_ASSIGN(samples[i], measure(candidates[i].arm));
    }
    for (std::size_t i = 0; i < candidates.size(); ++i)
      record(candidates[i], samples[i], samples.back().seconds);
  }
  return candidates;
}

Decision decide(std::span<const Candidate> rounds, const Noise& noise, std::uint64_t seed) {
  Decision decision{.noisy = noise.noisy(), .claimed = 2 * noise.deviation};
  for (const Candidate& candidate : rounds)
    decision.intervals.push_back(bootstrap_median(candidate.ratios, seed));
  for (std::size_t i = 0; i < rounds.size(); ++i)
    if (decision.intervals[i].middle > decision.intervals[decision.best].middle) decision.best = i;
  const double needed = (1 - tolerance) * decision.intervals[decision.best].middle;
  const auto inside = [&](std::size_t i) {
    const Interval& interval = decision.intervals[i];
    // Half of the tolerance is kept for what the interval does not know.
    return interval.middle >= needed + tolerance / 2 ||
           (interval.middle >= needed && interval.high >= needed + tolerance / 2);
  };
  const std::size_t control = rounds.size() - 1;
  decision.chosen = decision.best;
  if (inside(control)) {
    decision.chosen = control;
  } else {
    const auto cost = [&](std::size_t i) {
      return std::pair(rounds[i].arm.cost(), rounds[i].cpu_per_gib());
    };
    for (std::size_t i = 0; i < rounds.size(); ++i)
      if (inside(i) && cost(i) < cost(decision.chosen)) decision.chosen = i;
  }
  decision.keeps_default = decision.chosen == control;
  return decision;
}

}  // namespace fathom::aio_bench
