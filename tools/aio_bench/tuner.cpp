// SPDX-License-Identifier: Apache-2.0
#include "tuner.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/clock.hpp"
#include "base/units.hpp"

namespace fathom::aio_bench {
namespace {

constexpr std::size_t noise_trials = 10, paired_rounds = 10, fio_pairs = 10, duplex_trials = 4;
// Shares of the time that the searching phases may use; the rest is fio's and the preparation's.
constexpr double search_share = 0.30, decide_share = 0.18, fio_share = 0.45;

// One look at an arm: a stretch of reads and one of writes, as the predicted time of a step.
class Looks {
 public:
  // `reserve` of the write budget is left to others.
  Looks(Bed& bed, double seconds, std::uint64_t write_bytes, std::uint64_t reserve)
      : bed_(bed), seconds_(seconds), write_bytes_(write_bytes), reserve_(reserve) {}

  void set_seconds(double seconds) { seconds_ = seconds; }
  void set_duplex(double duplex) { duplex_ = duplex; }
  double seconds() const { return seconds_; }
  bool budget_spent() const { return spent_; }

  Result<Sample> operator()(const Arm& arm) {
    FATHOM_ASSIGN(const aio::Trial read, bed_.run(arm, {.read_share = 1, .seconds = seconds_}));
    Sample sample{.rates = {.read = read.rate()}, .cpu_per_gib = read.cpu_per_gib()};
    const std::uint64_t bytes = std::max(write_bytes_, arm.in_flight());
    if (bytes + reserve_ <= bed_.write_left()) {
      FATHOM_ASSIGN(const aio::Trial write,
                    bed_.run(arm, {.read_share = 0, .seconds = seconds_, .bytes = bytes}));
      sample.rates.write = write.rate();
      sample.cpu_per_gib = (read.cpu_per_gib() + write.cpu_per_gib()) / 2;
    } else {
      spent_ = true;  // reads alone decide from here on
    }
    sample.seconds = step_seconds(sample.rates, Mix{}, duplex_);
    return sample;
  }

 private:
  Bed& bed_;
  double seconds_;
  const std::uint64_t write_bytes_, reserve_;
  double duplex_ = 0;
  bool spent_ = false;
};

Result<Noise> measure_noise(const Arm& arm, Looks& looks, std::vector<Rates>& alone) {
  std::vector<double> values;
  for (std::size_t i = 0; i < noise_trials; ++i) {
    FATHOM_ASSIGN(const Sample sample, looks(arm));
    values.push_back(sample.seconds);
    alone.push_back(sample.rates);
  }
  return assess(values);
}

Rates middle(const std::vector<Rates>& rates) {
  std::vector<double> read, write;
  for (const Rates& one : rates) {
    read.push_back(one.read);
    write.push_back(one.write);
  }
  return {median(std::move(read)), median(std::move(write))};
}

Result<double> measure_duplex(Bed& bed, const Arm& arm, const Rates& alone, double seconds) {
  bed.set_phase("duplex");
  std::vector<double> factors;
  for (std::size_t i = 0; i < duplex_trials; ++i) {
    auto together = bed.run(arm, {.read_share = Mix{}.read_share(), .seconds = 2 * seconds});
    if (!together && together.error().code() == Errc::no_space) break;
    if (!together) return fail(std::move(together).error());
    const double elapsed = together->seconds;
    if (elapsed <= 0) continue;
    factors.push_back(duplex_factor(alone, {static_cast<double>(together->read_bytes) / elapsed,
                                            static_cast<double>(together->write_bytes) / elapsed}));
  }
  return std::clamp(median(std::move(factors)), 0.0, 1.0);
}

// The looks that halving and pairing will take, for sharing out time and writes.
std::size_t expected_looks(std::size_t grid) {
  std::size_t looks = grid * 7 / 6, alive = grid;
  for (std::size_t round = 1; alive > 5; ++round) {
    alive = std::max<std::size_t>(5, (alive + 1) / 2 + (round == 2 ? 9 : 0));
    looks += (round <= 2 ? 2 : 3) * (alive * 7 / 6 + 1);
    if (round > 12) break;
  }
  return looks;
}

}  // namespace

Result<Outcome> tune(const Options& options, const Preflight& preflight,
                     const std::atomic<bool>& stop,
                     const std::function<void(const std::string&)>& say) {
  const double start = now_seconds();
  Outcome outcome;
  FATHOM_ASSIGN(const auto bed, Bed::create(preflight, stop));
  say(fmt::format("preparing {}", format_bytes(preflight.preparation)));
  FATHOM_ASSIGN(outcome.preparation, bed->prepare(preflight.control));
  outcome.cliff = find_cliff(outcome.preparation);

  const std::size_t searching = expected_looks(preflight.grid.size());
  const std::size_t deciding = 6 * paired_rounds;
  const auto share = [&](double part, std::size_t looks) {
    return std::clamp(part * options.seconds / (2 * static_cast<double>(looks)), 0.008, 0.5);
  };
  // A third of the writes is fio's and the duplex factor's.
  const std::uint64_t reserve = bed->write_left() / 3, for_looks = bed->write_left() - reserve;
  Looks looks(*bed, share(search_share, searching),
              round_up(for_looks / (searching + deciding + 2 * noise_trials), MiB), reserve);

  say("noise floor");
  bed->set_phase("noise");
  std::vector<Rates> alone;
  FATHOM_ASSIGN(outcome.noise, measure_noise(preflight.control, looks, alone));
  if (outcome.noise.noisy()) {
    looks.set_seconds(2 * looks.seconds());
    FATHOM_ASSIGN(outcome.noise, measure_noise(preflight.control, looks, alone));
    outcome.notes.push_back(
        "the first trials varied by more than 10 %: all trials were made twice "
        "as long");
  }
  say("duplex factor");
  FATHOM_ASSIGN(outcome.duplex,
                measure_duplex(*bed, preflight.control, middle(alone), looks.seconds()));
  looks.set_duplex(outcome.duplex);

  say(fmt::format("searching {} settings", preflight.grid.size()));
  bed->set_phase("search");
  const Measure measure = [&looks](const Arm& arm) { return looks(arm); };
  const double search_end = now_seconds() + 1.3 * search_share * options.seconds;
  FATHOM_ASSIGN(outcome.halving,
                halve(preflight.grid, preflight.control, preflight.engines, measure,
                      {.out_of_time = [&] { return now_seconds() > search_end; }}));
  std::vector<Arm> finalists;
  for (const std::size_t i : outcome.halving.finalists)
    finalists.push_back(outcome.halving.all[i].arm);

  say(fmt::format("comparing the best {} with the default", finalists.size()));
  bed->set_phase("decide");
  looks.set_seconds(std::max(looks.seconds(), share(decide_share, deciding)));
  FATHOM_ASSIGN(outcome.rounds, pair_up(finalists, preflight.control, measure, paired_rounds, 2));
  outcome.decision = decide(outcome.rounds, outcome.noise, 3);
  if (looks.budget_spent())
    outcome.notes.push_back("--max-write-gib was used up: the last comparisons are of reads alone");

  const Arm& arm = outcome.chosen().arm;
  if (preflight.paths.size() > 1) {
    bed->set_phase("paths");
    for (std::size_t i = 0; i < preflight.paths.size(); ++i) {
      std::vector<Rates> rates;
      for (int trial = 0; trial < 3; ++trial) {
        const Ask ask{
            .read_share = 1, .seconds = looks.seconds(), .only_path = static_cast<int>(i)};
        FATHOM_ASSIGN(const aio::Trial read, bed->run(arm, ask));
        rates.push_back({.read = read.rate()});
        Ask write = ask;
        write.read_share = 0;
        if (arm.in_flight() * 4 > bed->write_left()) continue;
        write.bytes = std::max(arm.in_flight(), bed->write_left() / 20);
        FATHOM_ASSIGN(const aio::Trial written, bed->run(arm, write));
        rates.back().write = written.rate();
      }
      outcome.paths.push_back({preflight.paths[i].path, middle(rates)});
    }
  }
  FATHOM_ASSIGN(
      outcome.fio,
      compare_with_fio(
          *bed, arm, fio_pairs,
          std::clamp(fio_share * options.seconds / (6.0 * fio_pairs) - 0.15, 0.02, 1.0), say));
  outcome.rows = bed->rows();
  outcome.written = bed->written();
  outcome.device_share = bed->device_share();
  outcome.seconds = now_seconds() - start;
  return outcome;
}

}  // namespace fathom::aio_bench
