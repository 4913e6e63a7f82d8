// SPDX-License-Identifier: Apache-2.0
//
// aio_bench: finds the aio settings for a directory and proves them with numbers.
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "base/log.hpp"
#include "base/units.hpp"
#include "report.hpp"
#include "tuner.hpp"

namespace {

using namespace fathom;
using namespace fathom::aio_bench;

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

extern "C" void on_signal(int) { stop.store(true); }

int report_error(const Error& error) {
  log::error("{}", error.message());
  return error.code() == Errc::bad_config ? 2 : 1;
}

// One line that is overwritten, on a terminal only.
void progress(const std::string& doing, double left) {
  static const bool terminal = ::isatty(STDERR_FILENO) != 0;
  if (!terminal) return;
  const std::string text =
      doing.empty() ? "" : fmt::format("{}; ETA {}", doing, format_seconds(std::round(left)));
  std::fprintf(stderr, "\r\033[K%s", text.c_str());
}

int run(const Options& options, const std::string& out, bool json, bool dry_run) {
  const auto preflight = look(options);
  if (!preflight) return report_error(preflight.error());
  if (dry_run) {
    const std::string text =
        json ? preflight_json(*preflight).dump(2) + "\n" : preflight_text(*preflight);
    std::fputs(text.c_str(), stdout);
    return 0;
  }
  std::fputs(preflight_text(*preflight).c_str(), stderr);
  Outcome outcome;
  const auto tuned = tune(options, *preflight, stop, progress, outcome);
  progress("", 0);
  if (!tuned && !outcome.interrupted) return report_error(tuned.error());
  const auto report = report_json(options, *preflight, outcome);
  std::vector<std::string> files;
  if (!out.empty()) {
    auto written = write_files(out, report, *preflight, outcome);
    if (!written) return report_error(written.error());
    files = std::move(*written);
  }
  const std::string text = json ? report.dump(2) + "\n" : summary_text(*preflight, outcome, files);
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) return 1;
  return outcome.interrupted ? 3 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  std::string out;
  bool json = false, dry_run = false;
  CLI::App app("Finds the aio settings for the device under a directory.");
  app.add_option("--path", options.paths, "directories to measure in")->required()->expected(1, -1);
  double size_gib = 0;
  CLI::Option* size = app.add_option("--size", size_gib,
                                     "GiB of scratch file per path (default: a quarter of "
                                     "--max-write-gib, at most 4)")
                          ->check(CLI::Range(0.125, 1024.0));
  app.add_option("--max-write-gib", options.max_write_gib,
                 "GiB that may be written in all, fio's writes included")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--time", options.seconds, "seconds for all of it, about")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  const std::map<std::string, aio::Engine> engines = {{"auto", aio::Engine::automatic},
                                                      {"io_uring", aio::Engine::io_uring},
                                                      {"libaio", aio::Engine::libaio},
                                                      {"posix", aio::Engine::posix}};
  app.add_option("--engine", options.engine, "auto, io_uring, libaio or posix")
      ->transform(CLI::CheckedTransformer(engines));
  std::string mix;
  CLI::Option* mixed =
      app.add_option("--mix", mix, "READ:WRITE bytes of a step (default: 14:12, training's)");
  app.add_option("--out", out,
                 "directory for aio.json, profile.json, report.json, trials.csv and report.svg");
  app.add_flag("--json", json, "one JSON document on stdout");
  app.add_flag("--dry-run", dry_run, "look only");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (*size) options.size_gib = size_gib;
  if (*mixed) {
    const auto parsed = parse_mix(mix);
    if (!parsed) return report_error(parsed.error());
    options.mix = *parsed;
  }
  struct sigaction action{};
  action.sa_handler = on_signal;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  try {
    return run(options, out, json, dry_run);
  } catch (const std::exception& error) {
    fathom::log::error("unexpected: {}", error.what());
    return 1;
  }
}
