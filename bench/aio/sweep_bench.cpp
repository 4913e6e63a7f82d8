// SPDX-License-Identifier: Apache-2.0
//
// How far from the best is what aio_bench chose? Every setting of its grid, and the one chosen, are
// measured in rounds of random order; the choice's distance from the best is its regret.
//
// The setting that looks best of fifty noisy ones looks better than it is. So the best is named by
// the odd rounds and judged by the even ones, beside the plain maximum.
//
//   aio_sweep_bench DIR OUT/report.json [ROUNDS [SECONDS [SIZE_GIB]]]
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text_file.hpp"
#include "base/units.hpp"
#include "bed.hpp"
#include "preflight.hpp"
#include "search.hpp"

namespace {

using namespace fathom;
using namespace fathom::aio_bench;

std::atomic<bool> stop{false};
extern "C" void on_signal(int) { stop.store(true); }

Result<Arm> chosen_in(const std::string& path, double& duplex) {
  FATHOM_ASSIGN(const std::string text, read_text_file(path));
  const auto report = nlohmann::json::parse(text, nullptr, false);
  if (!report.is_object() || !report.contains("aio"))
    return fail(Error(Errc::bad_input, "read a report").on(path).because("it has no decision"));
  const auto& aio = report["aio"];
  const std::string engine = report.value("engine", "posix");
  duplex = report["profile"].value("duplex", 0.0);
  return Arm{.engine = engine == "io_uring" ? aio::Engine::io_uring
                       : engine == "libaio" ? aio::Engine::libaio
                                            : aio::Engine::posix,
             .block = aio.value("block_size", std::uint64_t{0}),
             .depth = aio.value("queue_depth", 0U),
             .threads = aio.value("intra_op_parallelism", 0U),
             .single_submit = aio.value("single_submit", false),
             .overlap_events = aio.value("overlap_events", true)};
}

// The median ratio to the default over every second round, from `first` on (step 1: all of them).
double score(const Candidate& candidate, std::size_t first, std::size_t step) {
  std::vector<double> ratios;
  for (std::size_t i = first; i < candidate.ratios.size(); i += step)
    ratios.push_back(candidate.ratios[i]);
  return median(std::move(ratios));
}

Result<void> sweep(const std::string& path, const std::string& report, std::size_t rounds,
                   double seconds, double size_gib) {
  double duplex = 0;
  FATHOM_ASSIGN(const Arm chosen, chosen_in(report, duplex));
  Options options{.paths = {path}, .size_gib = size_gib, .max_write_gib = 4096};
  FATHOM_ASSIGN(const Preflight preflight, look(options));
  FATHOM_ASSIGN(const auto bed, Bed::create(preflight, stop));
  FATHOM_ASSIGN(const auto first, bed->prepare(preflight.control));
  std::vector<Arm> arms = preflight.grid;
  if (std::ranges::find(arms, chosen) == arms.end()) arms.push_back(chosen);
  std::size_t looks = 0;
  const Measure measure = [&](const Arm& arm) -> Result<Sample> {
    if (++looks % (arms.size() + 1) == 0)
      std::fprintf(stderr, "round %zu of %zu\n", looks / (arms.size() + 1), rounds);
    FATHOM_ASSIGN(const aio::Trial read, bed->run(arm, {.read_share = 1, .seconds = seconds}));
    FATHOM_ASSIGN(const aio::Trial write, bed->run(arm, {.read_share = 0, .seconds = seconds}));
    Sample sample{.rates = {read.rate(), write.rate()}};
    sample.seconds = step_seconds(sample.rates, options.mix, duplex);
    return sample;
  };
  FATHOM_ASSIGN(const auto all, pair_up(arms, preflight.control, measure, rounds, 11));
  // pair_up leaves the default out of the arms and puts it last.
  const auto at = std::ranges::find(all, chosen, &Candidate::arm);
  const auto best = [&](std::size_t from, std::size_t step) {
    return std::ranges::max_element(
        all, {}, [&](const Candidate& candidate) { return score(candidate, from, step); });
  };
  const auto named = best(0, 2);
  const auto largest = best(0, 1);
  std::vector<double> control;
  for (const Sample& sample : all.back().samples) control.push_back(sample.seconds);
  std::printf("settings            %zu, %zu rounds of 2 x %.0f ms, %s written\n", all.size(),
              rounds, seconds * 1e3, format_bytes(bed->written()).c_str());
  std::printf("noise               %.1f %% (CV of the default)\n", 100 * variation(control));
  std::printf("chosen              %s: %.3f of the default\n", to_string(at->arm).c_str(),
              score(*at, 0, 1));
  std::printf("best, plain maximum %s: %.3f; regret %.1f %%\n", to_string(largest->arm).c_str(),
              score(*largest, 0, 1), 100 * (score(*largest, 0, 1) / score(*at, 0, 1) - 1));
  std::printf("best of odd rounds  %s; judged by even ones %.3f; regret %.1f %%\n",
              to_string(named->arm).c_str(), score(*named, 1, 2),
              100 * (score(*named, 1, 2) / score(*at, 1, 2) - 1));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: aio_sweep_bench DIR REPORT.json [ROUNDS [SECONDS [SIZE_GIB]]]\n", stderr);
    return 2;
  }
  std::signal(SIGINT, on_signal);
  const auto number = [&](int at, double otherwise) {
    return argc > at ? std::strtod(argv[at], nullptr) : otherwise;
  };
  const auto done = sweep(argv[1], argv[2], static_cast<std::size_t>(number(3, 10)), number(4, 0.1),
                          number(5, 1));
  if (done) return 0;
  std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return 1;
}
