// SPDX-License-Identifier: Apache-2.0
#include "preflight.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <sstream>
#include <thread>

#include <fmt/format.h>
#include <sys/statvfs.h>

#include "aio/flight_budget.hpp"
#include "aio/memory_limits.hpp"
#include "aio/text_file.hpp"
#include "base/units.hpp"

namespace fathom::aio_bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t most_in_flight = 64 * MiB;
constexpr double idle_look_seconds = 0.2;

std::uint64_t gib(double count) { return static_cast<std::uint64_t>(count * 1024) * MiB; }

template <class Value>
std::string known(const std::optional<Value>& value) {
  return value ? fmt::format("{}", *value) : "unknown";
}

template <class Value>
Json nullable(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// A larger file leaves less of it to caches, but is written first: most of the write budget is for
// what is measured.
double default_size_gib(const Options& options) {
  const double share = options.max_write_gib / (4 * static_cast<double>(options.paths.size()));
  return std::clamp(share, 0.125, 4.0);
}

// What is left to others: a full file system is slow, and a drive without spare blocks too.
std::uint64_t reserve_of(std::uint64_t size) { return std::min(size / 20, 10 * GiB); }

Result<PathFacts> look_at(const std::string& path, const Options& options,
                          std::vector<std::string>& notes) {
  struct statvfs info{};
  if (::statvfs(path.c_str(), &info) != 0)
    return fail(Error(errno == ENOENT ? Errc::not_found : Errc::bad_config, "look at a path")
                    .on(path)
                    .because_errno(errno)
                    .remedy("name a directory that exists with --path"));
  PathFacts facts;
  facts.path = path;
  facts.chain = aio::device_under(path);
  facts.engines = aio::probe_engines(path);
  facts.gds = aio::probe_gds(facts.chain);
  facts.free_bytes = std::uint64_t{info.f_bavail} * info.f_frsize;
  const std::uint64_t reserve = reserve_of(std::uint64_t{info.f_blocks} * info.f_frsize);
  const std::uint64_t usable = facts.free_bytes > reserve ? facts.free_bytes - reserve : 0;
  facts.file_bytes =
      round_down(gib(options.size_gib.value_or(default_size_gib(options))), most_in_flight);
  if (!options.size_gib && facts.file_bytes > usable) {
    const std::uint64_t smaller = round_down(usable, most_in_flight);
    if (smaller >= 2 * most_in_flight) {
      notes.push_back(
          fmt::format("{}: only {} are free beyond a reserve of {}; the scratch file is "
                      "{} instead of {}, which a drive's cache may hold",
                      path, format_bytes(usable), format_bytes(reserve), format_bytes(smaller),
                      format_bytes(facts.file_bytes)));
      facts.file_bytes = smaller;
    }
  }
  if (facts.file_bytes > usable)
    return fail(
        Error(Errc::no_space, "plan the scratch file")
            .on(path)
            .because(fmt::format("need {}, have {} on {} (and {} stay in reserve)",
                                 format_bytes(facts.file_bytes), format_bytes(facts.free_bytes),
                                 path, format_bytes(reserve)))
            .remedy("lower --size"));
  return facts;
}

void look_for_others(std::vector<PathFacts>& paths, std::vector<std::string>& notes) {
  std::vector<std::optional<DeviceBytes>> before;
  for (const PathFacts& facts : paths) before.push_back(device_bytes(facts.chain));
  std::this_thread::sleep_for(std::chrono::duration<double>(idle_look_seconds));
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const auto after = device_bytes(paths[i].chain);
    if (!before[i] || !after) continue;
    const std::uint64_t moved = after->read + after->written - before[i]->read - before[i]->written;
    paths[i].others = static_cast<double>(moved) / idle_look_seconds;
    if (paths[i].others > 10e6)
      notes.push_back(fmt::format("{}: other programs move {} on this device; results will suffer",
                                  paths[i].path, format_rate(paths[i].others)));
  }
}

}  // namespace

std::optional<DeviceBytes> device_bytes(const aio::DeviceChain& chain) {
  if (chain.devices.empty()) return std::nullopt;
  const auto text = aio::read_text("/sys/class/block/" + chain.devices.front().name + "/stat");
  if (!text) return std::nullopt;
  // Documentation/block/stat.rst: fields 3 and 7 are sectors of 512 bytes.
  std::istringstream fields(*text);
  std::vector<std::uint64_t> values;
  for (std::uint64_t value = 0; fields >> value;) values.push_back(value);
  if (values.size() < 7) return std::nullopt;
  return DeviceBytes{values[2] * 512, values[6] * 512};
}

Result<Preflight> look(const Options& options) {
  Preflight preflight;
  for (const std::string& path : options.paths) {
    FATHOM_ASSIGN(PathFacts facts, look_at(path, options, preflight.notes));
    preflight.paths.push_back(std::move(facts));
  }
  for (const aio::Engine engine :
       {aio::Engine::io_uring, aio::Engine::libaio, aio::Engine::posix}) {
    if (options.engine != aio::Engine::automatic && options.engine != engine) continue;
    bool works = true;
    for (const PathFacts& facts : preflight.paths) {
      const auto probe = std::ranges::find(facts.engines, engine, &aio::EngineProbe::engine);
      if (probe->works) continue;
      works = false;
      if (options.engine == engine)
        return fail(Error(Errc::unsupported, "use the engine that was asked for")
                        .on(fmt::format("{} on {}", to_string(engine), facts.path))
                        .because(probe->reason)
                        .remedy("use --engine auto"));
    }
    if (works) preflight.engines.push_back(engine);
  }
  if (preflight.engines.empty())
    return fail(Error(Errc::unsupported, "find an engine that works on every path"));
  const GridLimits limits{
      .engine = preflight.engines.front(),
      .most_in_flight = most_in_flight,
      .file_bytes = std::ranges::min(preflight.paths, {}, &PathFacts::file_bytes).file_bytes,
      .operations = [&](std::uint64_t block, unsigned wanted) {
        for (const PathFacts& facts : preflight.paths)
          wanted = std::min(wanted, aio::in_flight_limit(facts.chain, block, wanted));
        return wanted;
      }};
  preflight.grid = make_grid(limits);
  preflight.control = default_arm(limits);
  preflight.largest_in_flight = most_in_flight;
  for (const PathFacts& facts : preflight.paths) preflight.preparation += facts.file_bytes;
  preflight.write_budget = gib(options.max_write_gib);
  if (preflight.preparation > preflight.write_budget)
    return fail(Error(Errc::bad_config, "prepare the scratch files")
                    .on(fmt::format("--max-write-gib {}", options.max_write_gib))
                    .because(fmt::format("the files alone need {} of writing",
                                         format_bytes(preflight.preparation)))
                    .remedy("raise --max-write-gib or lower --size"));
  FATHOM_ASSIGN(const aio::Arena sample, aio::Arena::allocate(2 * MiB));
  preflight.pages = sample.page_kind();
  const auto setting = aio::read_text("/sys/kernel/mm/transparent_hugepage/enabled");
  const auto pool = aio::read_integer("/proc/sys/vm/nr_hugepages");
  preflight.huge_pages = fmt::format(
      "buffers get {} (transparent: {}, hugetlb pool: {} pages)", to_string(preflight.pages),
      setting ? aio::active_choice(*setting) : "unknown", pool.value_or(0));
  preflight.memory = aio::memory_limit().reason;
  look_for_others(preflight.paths, preflight.notes);
  return preflight;
}

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
    text += fmt::format("  GPUDirect Storage: {} ({})\n", to_string(facts.gds), facts.gds.reason);
  }
  text += fmt::format(
      "huge pages: {}\nmemory: {}\nwrites: {} to prepare, {} at most (--max-write-gib)\n"
      "{} settings to try; the default is {}\n",
      preflight.huge_pages, preflight.memory, format_bytes(preflight.preparation),
      format_bytes(preflight.write_budget), preflight.grid.size(), to_string(preflight.control));
  for (const std::string& note : preflight.notes) text += "note: " + note + "\n";
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
                     {"others_bytes_per_second", facts.others},
                     {"gds", to_string(facts.gds)},
                     {"gds_reason", facts.gds.reason},
                     {"devices", devices},
                     {"engines", engines}});
  }
  return {{"paths", paths},
          {"huge_pages", preflight.huge_pages},
          {"memory", preflight.memory},
          {"bytes_to_prepare", preflight.preparation},
          {"bytes_to_write_at_most", preflight.write_budget},
          {"arms", preflight.grid.size()},
          {"notes", preflight.notes}};
}

}  // namespace fathom::aio_bench
