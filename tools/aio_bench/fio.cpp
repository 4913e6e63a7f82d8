// SPDX-License-Identifier: Apache-2.0
#include "fio.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "aio/text_file.hpp"
#include "base/units.hpp"
#include "child.hpp"

namespace fathom::aio_bench {
namespace {

struct Fio {
  std::string program, version, pages;
  std::vector<std::string> environment;
  std::vector<std::string> memory;  // arguments
};

struct Mode {
  const char* name;
  const char* rw;
  double read_share;
};

Result<Fio> find_fio(std::uint64_t in_flight) {
  Fio fio;
  const auto program = find_program("fio");
  if (!program)
    return fail(Error(Errc::not_found, "find fio")
                    .because("it is not in the PATH")
                    .remedy("install fio to have the comparison"));
  fio.program = *program;
  FATHOM_ASSIGN(fio.version, run_program({fio.program, "--version"}, {"LC_ALL=C"}, 10));
  while (!fio.version.empty() && fio.version.back() == '\n') fio.version.pop_back();
  fio.environment = {"LC_ALL=C"};
  const auto free_pages = aio::read_integer("/proc/sys/vm/nr_hugepages");
  if (free_pages.value_or(0) * std::int64_t{2 * MiB} >= static_cast<std::int64_t>(2 * in_flight)) {
    fio.pages = "hugetlb (--iomem=mmaphuge)";
    fio.memory = {"--iomem=mmaphuge", "--hugepage-size=2m"};
  } else {
    fio.pages = "transparent huge pages (glibc.malloc.hugetlb=1)";
    fio.environment.push_back("GLIBC_TUNABLES=glibc.malloc.hugetlb=1");
  }
  return fio;
}

std::vector<std::string> command(const Fio& fio, const Bed& bed, const Arm& arm, const Mode& mode,
                                 std::uint64_t bytes, std::uint64_t offset) {
  const aio::File& file = bed.file(0);
  std::vector<std::string> line = {
      fio.program,
      "--name=fathom",
      fmt::format("--filename=/proc/{}/fd/{}", ::getpid(), file.fd()),
      std::string("--rw=") + mode.rw,
      fmt::format("--rwmixread={}", std::lround(100 * mode.read_share)),
      fmt::format("--bs={}", arm.block),
      fmt::format("--size={}", round_down(file.size(), arm.block) - offset),
      fmt::format("--io_size={}", bytes),
      fmt::format("--offset={}", offset),
      std::string("--direct=") + (file.direct() ? "1" : "0"),
      "--allow_file_create=0",
      "--fallocate=none",
      "--refill_buffers=0",
      "--scramble_buffers=0",
      "--thread=1",
      "--output-format=json",
  };
  line.insert(line.end(), fio.memory.begin(), fio.memory.end());
  if (arm.engine == aio::Engine::posix) {
    const unsigned jobs = std::min(arm.operations(), 16U);  // as many threads as ours has
    line.insert(line.end(),
                {"--ioengine=psync", fmt::format("--numjobs={}", jobs), "--group_reporting=1"});
    line[7] = fmt::format("--io_size={}", round_up(bytes / jobs, arm.block));
  } else {
    line.insert(line.end(), {std::string("--ioengine=") + to_string(arm.engine),
                             fmt::format("--iodepth={}", arm.operations())});
  }
  return line;
}

}  // namespace

Result<FioResult> parse_fio(std::string_view text) {
  const auto bad = [](std::string_view why) {
    return fail(Error(Errc::bad_input, "read fio's output").because(why));
  };
  // Warnings may stand before the document.
  const std::size_t begin = text.find('{');
  if (begin == std::string_view::npos) return bad("there is no JSON in it");
  const auto json = nlohmann::json::parse(text.substr(begin), nullptr, false);
  if (json.is_discarded() || !json.contains("jobs") || !json["jobs"].is_array() ||
      json["jobs"].empty())
    return bad("it has no jobs");
  FioResult result;
  for (const auto& job : json["jobs"]) {
    double seconds = 0;
    for (const char* direction : {"read", "write"}) {
      if (!job.is_object() || !job.contains(direction) || !job[direction].is_object()) continue;
      const auto& part = job[direction];
      const auto number = [&part](const char* key) {
        const auto at = part.find(key);
        return at != part.end() && at->is_number() ? at->get<double>() : 0.0;
      };
      result.bytes += number("io_bytes");
      seconds = std::max(seconds, number("runtime") / 1000);
    }
    result.seconds = std::max(result.seconds, seconds);
    const double cpu = job.value("usr_cpu", 0.0) + job.value("sys_cpu", 0.0);
    result.cpu_seconds += cpu / 100 * job.value("job_runtime", 0.0) / 1000;
  }
  if (result.bytes <= 0 || result.seconds <= 0) return bad("it moved nothing");
  return result;
}

Result<Comparison> compare_with_fio(Bed& bed, const Arm& arm, std::size_t pairs, double seconds,
                                    const std::function<void(const std::string&)>& progress) {
  Comparison comparison;
  auto found = find_fio(arm.in_flight());
  if (!found) {
    comparison.skipped = found.error().message();
    return comparison;
  }
  const Fio& fio = *found;
  comparison.version = fio.version;
  comparison.pages = fio.pages;
  bed.set_phase("fio");
  const std::uint64_t size = round_down(bed.file(0).size(), arm.block);
  const Mix mix;
  for (const Mode& mode : {Mode{"read", "read", 1}, Mode{"write", "write", 0},
                           Mode{"mixed", "rw", mix.read_share()}}) {
    progress(std::string("against fio: ") + mode.name);
    const double writes = 1 - mode.read_share;
    const auto too_little = [&](std::size_t pair) {
      comparison.cut_short =
          fmt::format("--max-write-gib allowed {} pairs of {} in {}", pair, pairs, mode.name);
    };
    if (writes > 0 && 8 * arm.in_flight() > bed.write_left()) {
      too_little(0);
      continue;
    }
    Versus versus;
    versus.mode = mode.name;
    // The bytes of a trial follow from a first one of ours, which counts for nothing else.
    FATHOM_ASSIGN(
        const aio::Trial probe,
        bed.run(arm, {.read_share = mode.read_share, .seconds = seconds / 3, .only_path = 0}));
    auto bytes = static_cast<std::uint64_t>(probe.rate() * seconds);
    if (writes > 0)
      bytes =
          std::min(bytes, static_cast<std::uint64_t>(static_cast<double>(bed.write_left()) /
                                                     writes / (3 * static_cast<double>(pairs))));
    bytes = std::clamp(round_down(bytes, arm.block), arm.block * 2, size);
    std::vector<double> ratios;
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      // Both write the same share; a pair that the budget does not hold is not begun.
      const auto written = static_cast<std::uint64_t>(static_cast<double>(bytes) * writes * 1.1);
      if (2 * written > bed.write_left()) {
        comparison.cut_short =
            fmt::format("--max-write-gib allowed {} pairs of {} in {}", pair, pairs, mode.name);
        break;
      }
      double ours = 0, theirs = 0;
      for (int turn = 0; turn < 2; ++turn) {
        if ((turn == 0) == (pair % 2 == 0)) {
          FATHOM_ASSIGN(const aio::Trial trial, bed.run(arm, {.read_share = mode.read_share,
                                                              .seconds = 20 * seconds,
                                                              .bytes = bytes,
                                                              .only_path = 0}));
          ours = trial.rate();
          versus.ours.push_back(ours);
          versus.ours_cpu.push_back(trial.cpu_per_gib());
          continue;
        }
        const std::uint64_t offset =
            round_down(size / std::max<std::size_t>(pairs, 1) * pair, arm.block);
        FATHOM_ASSIGN(
            const std::string text,
            run_program(command(fio, bed, arm, mode, bytes, offset + bytes <= size ? offset : 0),
                        fio.environment, 30 + 20 * seconds, &bed.stop_flag()));
        FATHOM_ASSIGN(const FioResult result, parse_fio(text));
        bed.count_written(static_cast<std::uint64_t>(result.bytes * writes));
        theirs = result.bytes / result.seconds;
        versus.fio.push_back(theirs);
        versus.fio_cpu.push_back(result.cpu_seconds / (result.bytes / static_cast<double>(GiB)));
      }
      ratios.push_back(theirs > 0 ? ours / theirs : 0);
    }
    if (ratios.empty()) continue;
    versus.ratio = bootstrap_median(ratios, 1);
    comparison.modes.push_back(std::move(versus));
  }
  return comparison;
}

}  // namespace fathom::aio_bench
