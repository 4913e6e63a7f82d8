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
// Shares of the time after the preparation; the rest is slack.
constexpr double noise_share = 0.06, search_share = 0.36, decide_share = 0.16, fio_share = 0.34;
// Shares of the writes after the preparation; the rest is the duplex factor's.
constexpr double search_writes = 0.32, decide_writes = 0.26, fio_writes = 0.36;

// One look at an arm: a stretch of reads and one of writes, as the predicted time of a step.
class Looks {
 public:
  Looks(Bed& bed, const Mix& mix, Outcome& outcome) : bed_(bed), mix_(mix), outcome_(outcome) {}

  void set_seconds(double seconds) { seconds_ = std::clamp(seconds, 0.008, 0.5); }
  // Each look writes about `bytes`; `reserve` of the write budget is left to others.
  void set_writes(std::uint64_t bytes, std::uint64_t reserve) {
    write_bytes_ = std::max(MiB, bytes);
    reserve_ = reserve;
  }
  void set_duplex(double duplex) { duplex_ = duplex; }
  double seconds() const { return seconds_; }
  bool budget_spent() const { return spent_; }

  Result<Sample> operator()(const Arm& arm) {
    FATHOM_ASSIGN(const aio::Trial read, bed_.run(arm, {.read_share = 1, .seconds = seconds_}));
    Sample sample{.rates = {.read = read.rate()}, .cpu_per_gib = read.cpu_per_gib()};
    const std::uint64_t bytes = std::max(write_bytes_, arm.block);
    if (mix_.write > 0 && bytes + reserve_ <= bed_.write_left()) {
      FATHOM_ASSIGN(const aio::Trial write,
                    bed_.run(arm, {.read_share = 0, .seconds = seconds_, .bytes = bytes}));
      sample.rates.write = write.rate();
      sample.cpu_per_gib = (read.cpu_per_gib() + write.cpu_per_gib()) / 2;
    } else if (mix_.write > 0) {
      spent_ = true;  // reads alone decide from here on
    }
    sample.seconds = step_seconds(sample.rates, mix_, duplex_);
    remember(arm, sample);
    return sample;
  }

 private:
  void remember(const Arm& arm, const Sample& sample) {
    auto known = std::ranges::find(outcome_.seen, arm, &Candidate::arm);
    if (known == outcome_.seen.end())
      known = outcome_.seen.insert(known, {.arm = arm, .ratios = {}, .samples = {}});
    known->samples.push_back(sample);
  }

  Bed& bed_;
  const Mix mix_;
  Outcome& outcome_;
  double seconds_ = 0.02, duplex_ = 0;
  std::uint64_t write_bytes_ = 16 * MiB, reserve_ = 0;
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

Result<double> measure_duplex(Bed& bed, const Arm& arm, const Mix& mix, const Rates& alone,
                              double seconds) {
  bed.set_phase("duplex");
  std::vector<double> factors;
  for (std::size_t i = 0; i < duplex_trials; ++i) {
    // A share of what is left to this, so that a fast device does not write all of it at once.
    const auto bytes = bed.write_left() / 32;
    auto together =
        bed.run(arm, {.read_share = mix.read_share(), .seconds = 2 * seconds, .bytes = bytes});
    if (!together && together.error().code() == Errc::no_space) break;
    if (!together) return fail(std::move(together).error());
    const double elapsed = together->seconds;
    if (elapsed <= 0) continue;
    factors.push_back(duplex_factor(alone, {static_cast<double>(together->read_bytes) / elapsed,
                                            static_cast<double>(together->write_bytes) / elapsed}));
  }
  return std::clamp(median(std::move(factors)), 0.0, 1.0);
}

// The smallest transfers, one at a time: what a transfer costs beyond its bytes.
Result<double> measure_latency(Bed& bed, Arm arm, double read_rate) {
  bed.set_phase("latency");
  arm.block = io_alignment;
  arm.depth = arm.threads = 1;
  std::vector<double> seconds;
  for (int i = 0; i < 5; ++i) {
    FATHOM_ASSIGN(const aio::Trial trial, bed.run(arm, {.seconds = 0.05, .bytes = 1 * MiB}));
    const double transfers = static_cast<double>(trial.bytes()) / static_cast<double>(arm.block);
    if (transfers > 0) seconds.push_back(trial.seconds / transfers);
  }
  const double moving = read_rate > 0 ? static_cast<double>(arm.block) / read_rate : 0;
  return std::max(0.0, median(std::move(seconds)) - moving);
}

// The looks that halving will take, for sharing out time and writes.
std::size_t expected_looks(std::size_t grid) {
  std::size_t looks = grid * 7 / 6, alive = grid;
  for (std::size_t round = 1; alive > 5; ++round) {
    alive = std::max<std::size_t>(5, (alive + 1) / 2 + (round == 2 ? 9 : 0));
    looks += (round <= 2 ? 2 : 3) * (alive * 7 / 6 + 1);
    if (round > 12) break;
  }
  return looks;
}

// The phases with what they share.
class Tuner {
 public:
  Tuner(const Options& options, const Preflight& preflight, const Progress& say, Outcome& outcome,
        Bed& bed, double start)
      : options_(options),
        preflight_(preflight),
        say_(say),
        outcome_(outcome),
        bed_(bed),
        start_(start),
        looks_(bed, options.mix, outcome) {}

  Result<void> run() {
    tell(fmt::format("writing {} first", format_bytes(preflight_.preparation)));
    FATHOM_ASSIGN(outcome_.preparation, bed_.prepare(preflight_.control));
    outcome_.cliff = find_cliff(outcome_.preparation);
    prepared_ = now_seconds();
    // A slow first pass must not leave nothing for what it was made for.
    rest_ = std::max(options_.seconds - (prepared_ - start_), options_.seconds / 2);
    writes_ = static_cast<double>(bed_.write_left());
    FATHOM_CHECK(know_the_machine());
    FATHOM_CHECK(search());
    FATHOM_CHECK(compare_paths());
    const FioPlan plan{
        .mix = options_.mix,
        .pairs = fio_pairs,
        .seconds = std::clamp(fio_share * rest_ / (6.0 * fio_pairs) - 0.25, 0.05, 1.0),
        .end = prepared_ + rest_};
    FATHOM_ASSIGN(outcome_.fio, compare_with_fio(bed_, outcome_.chosen().arm, plan,
                                                 [this](const std::string& what) { tell(what); }));
    return {};
  }

 private:
  void tell(const std::string& what) const {
    say_(what, std::max(0.0, options_.seconds - (now_seconds() - start_)));
  }
  // Seconds of a trial when `looks` of two trials share a part of the time.
  double trial_seconds(double share, std::size_t looks) const {
    return share * rest_ / (2 * static_cast<double>(looks)) - overhead_;
  }
  std::uint64_t writes(double share, std::size_t looks) const {
    return round_up(static_cast<std::uint64_t>(share * writes_ / static_cast<double>(looks)), MiB);
  }

  Result<void> know_the_machine() {
    tell("noise floor");
    bed_.set_phase("noise");
    const std::size_t searching = expected_looks(preflight_.grid.size());
    looks_.set_seconds(trial_seconds(noise_share, noise_trials));
    looks_.set_writes(writes(decide_writes, 6 * paired_rounds + 2 * noise_trials), 0);
    std::vector<Rates> alone;
    const double before = now_seconds();
    FATHOM_ASSIGN(outcome_.noise, measure_noise(preflight_.control, looks_, alone));
    // What a trial takes beyond its own time: setting up, tearing down, waiting for a processor.
    double own = 0;
    for (const Row& row : bed_.rows()) own += row.trial.seconds;
    overhead_ = std::max(0.0, (now_seconds() - before - own) / (2 * noise_trials));
    if (outcome_.noise.noisy()) {
      longer_ = 2;
      looks_.set_seconds(longer_ * looks_.seconds());
      alone.clear();
      FATHOM_ASSIGN(outcome_.noise, measure_noise(preflight_.control, looks_, alone));
      outcome_.notes.push_back("the first trials varied by more than 10 %: they were made longer");
    }
    const Rates rates = middle(alone);
    tell("reads and writes at once");
    FATHOM_ASSIGN(outcome_.duplex,
                  measure_duplex(bed_, preflight_.control, options_.mix, rates, looks_.seconds()));
    looks_.set_duplex(outcome_.duplex);
    tell("latency");
    FATHOM_ASSIGN(outcome_.latency, measure_latency(bed_, preflight_.control, rates.read));
    looks_.set_seconds(longer_ * trial_seconds(search_share, searching));
    looks_.set_writes(writes(search_writes, searching),
                      static_cast<std::uint64_t>((decide_writes + fio_writes) * writes_));
    return {};
  }

  Result<void> search() {
    bed_.set_phase("search");
    const double end = prepared_ + (noise_share + search_share) * rest_;
    std::size_t count = 0;
    const Measure measure = [&](const Arm& arm) {
      if (count++ % 8 == 0)
        tell(fmt::format("searching {} settings, look {} of about {}", preflight_.grid.size(),
                         count, expected_looks(preflight_.grid.size())));
      return looks_(arm);
    };
    FATHOM_ASSIGN(outcome_.halving,
                  halve(preflight_.grid, preflight_.control, preflight_.engines, measure,
                        {.out_of_time = [&] { return now_seconds() > end; }}));
    std::vector<Arm> finalists;
    for (const std::size_t i : outcome_.halving.finalists)
      finalists.push_back(outcome_.halving.all[i].arm);
    tell(fmt::format("comparing the best {} with the default", finalists.size()));
    bed_.set_phase("decide");
    const std::size_t deciding = (finalists.size() + 1) * paired_rounds;
    looks_.set_seconds(std::max(looks_.seconds(), trial_seconds(decide_share, deciding)));
    looks_.set_writes(writes(decide_writes, deciding),
                      static_cast<std::uint64_t>(fio_writes * writes_));
    const Measure look = [this](const Arm& arm) { return looks_(arm); };
    FATHOM_ASSIGN(outcome_.rounds,
                  pair_up(finalists, preflight_.control, look, paired_rounds, 2,
                          [&] { return now_seconds() > prepared_ + (1 - fio_share) * rest_; }));
    if (const std::size_t rounds = outcome_.rounds.front().ratios.size(); rounds < paired_rounds)
      outcome_.notes.push_back(
          fmt::format("--time allowed {} rounds of {} to decide", rounds, paired_rounds));
    outcome_.decision = decide(outcome_.rounds, outcome_.noise, 3);
    outcome_.decided = true;
    if (looks_.budget_spent())
      outcome_.notes.push_back("--max-write-gib was used up: some comparisons are of reads alone");
    return {};
  }

  // Each path alone: the weights of a stripe.
  Result<void> compare_paths() {
    if (preflight_.paths.size() < 2) return {};
    bed_.set_phase("paths");
    const Arm& arm = outcome_.chosen().arm;
    for (std::size_t i = 0; i < preflight_.paths.size(); ++i) {
      tell("alone: " + preflight_.paths[i].path);
      std::vector<Rates> rates;
      for (int trial = 0; trial < 3; ++trial) {
        const Ask ask{
            .read_share = 1, .seconds = looks_.seconds(), .only_path = static_cast<int>(i)};
        FATHOM_ASSIGN(const aio::Trial read, bed_.run(arm, ask));
        rates.push_back({.read = read.rate()});
        Ask write = ask;
        write.read_share = 0;
        if (arm.in_flight() * 4 > bed_.write_left()) continue;
        write.bytes = std::max(arm.in_flight(), bed_.write_left() / 20);
        FATHOM_ASSIGN(const aio::Trial written, bed_.run(arm, write));
        rates.back().write = written.rate();
      }
      outcome_.paths.push_back({preflight_.paths[i].path, middle(rates)});
    }
    return {};
  }

  const Options& options_;
  const Preflight& preflight_;
  const Progress& say_;
  Outcome& outcome_;
  Bed& bed_;
  const double start_;
  Looks looks_;
  double prepared_ = 0, rest_ = 0, writes_ = 0, overhead_ = 0, longer_ = 1;
};

}  // namespace

Result<void> tune(const Options& options, const Preflight& preflight, const std::atomic<bool>& stop,
                  const Progress& say, Outcome& outcome) {
  const double start = now_seconds();
  FATHOM_ASSIGN(const auto bed, Bed::create(preflight, stop));
  Result<void> ran = Tuner(options, preflight, say, outcome, *bed, start).run();
  outcome.rows = bed->rows();
  outcome.written = bed->written();
  outcome.device_share = bed->device_share();
  outcome.unproven = bed->unproven();
  outcome.interrupted = !ran && ran.error().code() == Errc::interrupted;
  outcome.seconds = now_seconds() - start;
  return ran;
}

}  // namespace fathom::aio_bench
