// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <optional>

#include <fmt/format.h>

#include "base/units.hpp"

namespace fathom::aio_bench {
namespace {

using Json = nlohmann::ordered_json;

template <class Value>
std::string known(const std::optional<Value>& value) {
  return value ? fmt::format("{}", *value) : "unknown";
}

template <class Value>
Json nullable(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json arm_json(const Measured& measured) {
  return {{"engine", to_string(measured.arm.engine)},
          {"block_size", measured.arm.block},
          {"queue_depth", measured.arm.depth},
          {"in_flight_bytes", measured.arm.in_flight()},
          {"read_bytes_per_second", median(measured.read)},
          {"write_bytes_per_second", median(measured.write)},
          {"read_trials", measured.read.size()},
          {"write_trials", measured.write.size()}};
}

std::string arm_line(const Measured& measured) {
  const Arm& arm = measured.arm;
  return fmt::format("{:<9} {:>11} x {:<4} read {:>11}  write {:>11}", to_string(arm.engine),
                     format_bytes(arm.block), arm.depth, format_rate(median(measured.read)),
                     measured.write.empty() ? "-" : format_rate(median(measured.write)));
}

Result<void> write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  if (file) return {};
  return fail(Error(Errc::io, "write a report")
                  .on(path)
                  .because_errno(errno)
                  .remedy("choose a directory you may write to with --out"));
}

}  // namespace

std::string preflight_text(const Preflight& preflight) {
  std::string text;
  for (const PathFacts& facts : preflight.paths) {
    text += fmt::format("{}: {}, {} free, scratch file {}\n", facts.path, facts.chain.file_system,
                        format_bytes(facts.free_bytes), format_bytes(facts.file_bytes));
    for (const aio::BlockDevice& device : facts.chain.devices) {
      const aio::DeviceLimits& limits = device.limits;
      text += fmt::format(
          "  {:>{}}{}: {} tags, {} bytes per command, {} segments, blocks of {}, scheduler {}, "
          "node {}{}\n",
          "", device.depth * 2, device.name, known(limits.requests), known(limits.max_transfer),
          known(limits.max_segments), known(limits.logical_block),
          limits.scheduler.empty() ? "unknown" : limits.scheduler, device.numa_node,
          limits.rotational.value_or(false) ? ", rotating" : "");
    }
    if (!facts.chain.note.empty()) text += fmt::format("  {}\n", facts.chain.note);
    for (const aio::EngineProbe& probe : facts.engines)
      text += fmt::format("  {}: {}\n", to_string(probe.engine),
                          probe.works ? (probe.reason.empty() ? "works" : "works, " + probe.reason)
                                      : "refused: " + probe.reason);
  }
  text += fmt::format("huge pages: {}\nmemory: {}\n{} arms to try\n", preflight.huge_pages,
                      preflight.memory, preflight.arms.size());
  return text;
}

Json preflight_json(const Preflight& preflight) {
  Json paths = Json::array();
  for (const PathFacts& facts : preflight.paths) {
    Json devices = Json::array(), engines = Json::array();
    for (const aio::BlockDevice& device : facts.chain.devices)
      devices.push_back({{"name", device.name},
                         {"depth", device.depth},
                         {"leaf", device.leaf},
                         {"numa_node", device.numa_node},
                         {"requests", nullable(device.limits.requests)},
                         {"max_transfer", nullable(device.limits.max_transfer)},
                         {"max_segments", nullable(device.limits.max_segments)},
                         {"logical_block", nullable(device.limits.logical_block)},
                         {"rotational", nullable(device.limits.rotational)},
                         {"scheduler", device.limits.scheduler}});
    for (const aio::EngineProbe& probe : facts.engines)
      engines.push_back(
          {{"engine", to_string(probe.engine)}, {"works", probe.works}, {"reason", probe.reason}});
    paths.push_back({{"path", facts.path},
                     {"file_system", facts.chain.file_system},
                     {"free_bytes", facts.free_bytes},
                     {"scratch_bytes", facts.file_bytes},
                     {"devices", devices},
                     {"engines", engines}});
  }
  return {{"paths", paths},
          {"huge_pages", preflight.huge_pages},
          {"memory", preflight.memory},
          {"arms", preflight.arms.size()}};
}

Json aio_block(const Arm& arm) {
  return {{"aio",
           {{"block_size", arm.block},
            {"queue_depth", arm.depth},
            {"intra_op_parallelism", 1},
            {"single_submit", false},
            {"overlap_events", true},
            {"use_gds", false}}}};
}

std::string summary_text(const Outcome& outcome, std::size_t chosen, std::size_t best) {
  const Measured& pick = outcome.arms[chosen];
  std::string text = fmt::format(
      "use block_size {} and queue_depth {} with {}: read {}, write {}, {} in flight\n"
      "{:.1f} % of the best score; {} rounds, buffers on {}, {} written\n",
      pick.arm.block, pick.arm.depth, to_string(pick.arm.engine), format_rate(median(pick.read)),
      pick.write.empty() ? "not measured" : format_rate(median(pick.write)),
      format_bytes(pick.arm.in_flight()), 100 * score(pick) / score(outcome.arms[best]),
      outcome.rounds, to_string(outcome.pages), format_bytes(outcome.written));
  if (outcome.write_budget_spent)
    text += "some write trials were left out: --max-write-gib is used up\n";
  if (pick.read.size() < 3) text += "fewer than 3 trials an arm: raise --time for a sure answer\n";
  text += "\nthe best by score:\n";
  std::vector<std::size_t> order(outcome.arms.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    return score(outcome.arms[a]) > score(outcome.arms[b]);
  });
  order.resize(std::min<std::size_t>(order.size(), 12));
  for (const std::size_t index : order)
    text += fmt::format("{} {}\n", index == chosen ? '*' : ' ', arm_line(outcome.arms[index]));
  return text;
}

Json report_json(const Options& options, const Preflight& preflight, const Outcome& outcome,
                 std::size_t chosen, std::size_t best) {
  Json arms = Json::array();
  for (const Measured& measured : outcome.arms) arms.push_back(arm_json(measured));
  Json report = aio_block(outcome.arms[chosen].arm);
  report["chosen"] = arm_json(outcome.arms[chosen]);
  report["best"] = arm_json(outcome.arms[best]);
  report["pages"] = to_string(outcome.pages);
  report["rounds"] = outcome.rounds;
  report["bytes_written"] = outcome.written;
  report["prepare_bytes_per_second"] = outcome.prepare_rate;
  report["write_budget_spent"] = outcome.write_budget_spent;
  report["seconds_asked"] = options.seconds;
  report["preflight"] = preflight_json(preflight);
  report["arms"] = arms;
  return report;
}

std::string trials_csv(const Outcome& outcome) {
  std::string text = "round,path,engine,block_size,queue_depth,direction,bytes,seconds\n";
  for (const Row& row : outcome.rows) {
    std::string quoted = "\"";
    for (const char c : row.path) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    text += fmt::format("{},{}\",{},{},{},{},{},{:.9f}\n", row.round, quoted,
                        to_string(row.arm.engine), row.arm.block, row.arm.depth,
                        row.direction == aio::Direction::read ? "read" : "write", row.bytes,
                        row.seconds);
  }
  return text;
}

Result<void> write_files(const std::string& directory, const Json& report, const Outcome& outcome,
                         std::size_t chosen) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error)
    return fail(Error(Errc::io, "make the output directory")
                    .on(directory)
                    .because_errno(error.value())
                    .remedy("choose another directory with --out"));
  FATHOM_CHECK(
      write_file(directory + "/aio.json", aio_block(outcome.arms[chosen].arm).dump(2) + "\n"));
  FATHOM_CHECK(write_file(directory + "/report.json", report.dump(2) + "\n"));
  return write_file(directory + "/trials.csv", trials_csv(outcome));
}

}  // namespace fathom::aio_bench
