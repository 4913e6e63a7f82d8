// SPDX-License-Identifier: Apache-2.0
#include "fio.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "aio/text_file.hpp"
#include "base/clock.hpp"
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
      (direction == std::string_view("read") ? result.read_bytes : result.write_bytes) +=
          number("io_bytes");
      seconds = std::max(seconds, number("runtime") / 1000);
    }
    result.seconds = std::max(result.seconds, seconds);
    const double cpu = job.value("usr_cpu", 0.0) + job.value("sys_cpu", 0.0);
    result.cpu_seconds += cpu / 100 * job.value("job_runtime", 0.0) / 1000;
  }
  if (result.bytes() <= 0 || result.seconds <= 0) return bad("it moved nothing");
  // fio rounds its time up to a millisecond: on average half of one was not there.
  result.seconds -= 0.0005;
  return result;
}

namespace {

// Bytes of a trial in a mode: what a first one of ours moves in its time, within the write budget.
Result<std::uint64_t> trial_bytes(Bed& bed, const Arm& arm, const Mode& mode, const FioPlan& plan) {
  FATHOM_ASSIGN(
      const aio::Trial probe,
      bed.run(arm, {.read_share = mode.read_share, .seconds = plan.seconds / 3, .only_path = 0}));
  const double writes = 1 - mode.read_share;
  double bytes = probe.rate() * plan.seconds;
  // Two of each pair, and a third of what is left for the mode that follows.
  if (writes > 0)
    bytes = std::min(bytes, static_cast<double>(bed.write_left()) / writes /
                                (3 * static_cast<double>(plan.pairs)));
  const std::uint64_t size = round_down(bed.file(0).size(), arm.block);
  return std::clamp(round_down(static_cast<std::uint64_t>(bytes), arm.block), arm.block * 2, size);
}

Result<aio::Trial> run_fio(Bed& bed, const Fio& fio, const Arm& arm, const Mode& mode,
                           std::uint64_t bytes, std::uint64_t offset, double seconds,
                           double& pause) {
  const auto before = bed.device_bytes_now(0);
  const double start = now_seconds();
  FATHOM_ASSIGN(const std::string text, run_program(command(fio, bed, arm, mode, bytes, offset),
                                                    fio.environment, seconds, &bed.stop_flag()));
  const double whole = now_seconds() - start;
  FATHOM_ASSIGN(const FioResult result, parse_fio(text));
  pause = std::clamp(whole - result.seconds, 0.0, 1.0);
  const aio::Trial trial{.read_bytes = static_cast<std::uint64_t>(result.read_bytes),
                         .write_bytes = static_cast<std::uint64_t>(result.write_bytes),
                         .seconds = result.seconds,
                         .cpu_seconds = result.cpu_seconds};
  bed.add_fio(arm, mode.read_share, trial, before);
  return trial;
}

// The pairs of one mode; none when the budget does not hold one.
Result<Versus> compare_mode(Bed& bed, const Fio& fio, const Arm& arm, const Mode& mode,
                            const FioPlan& plan, std::string& cut_short) {
  Versus versus{
      .mode = mode.name, .ours = {}, .fio = {}, .ours_cpu = {}, .fio_cpu = {}, .ratio = {}};
  const double writes = 1 - mode.read_share;
  const auto cut = [&](const std::string& why) {
    cut_short += (cut_short.empty() ? "" : "; ") + why;
  };
  if (writes > 0 && 8 * arm.in_flight() > bed.write_left()) {
    cut(fmt::format("--max-write-gib allowed no pairs in {}", mode.name));
    return versus;
  }
  FATHOM_ASSIGN(const std::uint64_t bytes, trial_bytes(bed, arm, mode, plan));
  const std::uint64_t size = round_down(bed.file(0).size(), arm.block);
  std::vector<double> ratios;
  double pause = 0.2;  // until it is known
  for (std::size_t pair = 0; pair < plan.pairs; ++pair) {
    // Both write the same share; a pair that the budget does not hold is not begun.
    const auto written = static_cast<std::uint64_t>(static_cast<double>(bytes) * writes * 1.1);
    const bool late = pair >= 1 && now_seconds() > plan.end;
    if (2 * written > bed.write_left() || late) {
      cut(fmt::format("{} allowed {} pairs of {} in {}", late ? "--time" : "--max-write-gib", pair,
                      plan.pairs, mode.name));
      break;
    }
    std::uint64_t offset = round_down(size / plan.pairs * pair, arm.block);
    if (offset + bytes > size) offset = 0;
    aio::Trial ours, theirs;
    // While fio starts, the device rests and its caches empty: ours waits as long before it begins.
    for (const bool first : {true, false}) {
      if (first == (pair % 2 == 0)) {
        std::this_thread::sleep_for(std::chrono::duration<double>(pause));
        FATHOM_ASSIGN(ours, bed.run(arm, {.read_share = mode.read_share,
                                          .seconds = 20 * plan.seconds,
                                          .bytes = bytes,
                                          .only_path = 0}));
      } else {
        FATHOM_ASSIGN(theirs,
                      run_fio(bed, fio, arm, mode, bytes, offset, 30 + 20 * plan.seconds, pause));
      }
    }
    versus.ours.push_back(ours.rate());
    versus.ours_cpu.push_back(ours.cpu_per_gib());
    versus.fio.push_back(theirs.rate());
    versus.fio_cpu.push_back(theirs.cpu_per_gib());
    ratios.push_back(theirs.rate() > 0 ? ours.rate() / theirs.rate() : 0);
  }
  versus.ratio = bootstrap_median(ratios, 1);
  return versus;
}

}  // namespace

Result<Comparison> compare_with_fio(Bed& bed, const Arm& arm, const FioPlan& plan,
                                    const std::function<void(const std::string&)>& progress) {
  Comparison comparison;
  auto found = find_fio(arm.in_flight());
  if (!found) {
    comparison.skipped = found.error().message();
    return comparison;
  }
  comparison.version = found->version;
  comparison.pages = found->pages;
  bed.set_phase("fio");
  for (const Mode& mode : {Mode{"read", "read", 1}, Mode{"write", "write", 0},
                           Mode{"mixed", "rw", plan.mix.read_share()}}) {
    progress(std::string("against fio: ") + mode.name);
    FATHOM_ASSIGN(Versus versus, compare_mode(bed, *found, arm, mode, plan, comparison.cut_short));
    if (!versus.ours.empty()) comparison.modes.push_back(std::move(versus));
  }
  return comparison;
}

}  // namespace fathom::aio_bench
