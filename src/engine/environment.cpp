// SPDX-License-Identifier: Apache-2.0
#include "engine/environment.hpp"

#include <optional>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "aio/arena.hpp"
#include "aio/device.hpp"
#include "aio/engines.hpp"
#include "aio/memory_limits.hpp"
#include "aio/numa.hpp"
#include "base/text_file.hpp"
#include "base/units.hpp"
#include "engine/cuda/library.hpp"
#include "engine/machine.hpp"
#include "engine/run.hpp"
#include "engine/versions.hpp"
#include "kernels/targets.hpp"

namespace fathom::engine {
namespace {

using nlohmann::json;

// NCCL between the processes of a node and LibTorch's loaders pass data through /dev/shm.
constexpr std::uint64_t enough_shm = 512 * 1000 * 1000;

std::string first_line(const std::string& path) {
  auto text = read_text_file(path);
  if (!text) return "unknown";
  return text->substr(0, text->find('\n'));
}

json limit(int resource) {
  struct rlimit now{};
  if (::getrlimit(static_cast<__rlimit_resource_t>(resource), &now) != 0) return nullptr;
  if (now.rlim_cur == RLIM_INFINITY) return "unlimited";
  return static_cast<std::uint64_t>(now.rlim_cur);
}

json facility_json(const Facility& facility) {
  return {{"name", facility.name},
          {"usable", facility.usable()},
          {"version", facility.version},
          {"reason", facility.reason},
          {"devices", facility.devices}};
}

json huge_pages() {
  const auto meminfo = read_text_file("/proc/meminfo");
  const auto size = meminfo ? aio::kib_field(*meminfo, "Hugepagesize") : std::nullopt;
  // What an arena really gets says more than any setting.
  const auto arena = aio::Arena::allocate(4 * MiB);
  return {{"size", size ? json(*size) : json(nullptr)},
          {"reserved", first_line("/proc/sys/vm/nr_hugepages")},
          {"transparent", first_line("/sys/kernel/mm/transparent_hugepage/enabled")},
          {"arena_gets", arena ? aio::to_string(arena->page_kind()) : "nothing"},
          {"reason", arena ? "" : arena.error().message()}};
}

json shared_memory() {
  struct statvfs info{};
  if (::statvfs("/dev/shm", &info) != 0) return {{"bytes", 0}, {"note", "there is no /dev/shm"}};
  const std::uint64_t bytes = static_cast<std::uint64_t>(info.f_blocks) * info.f_frsize;
  return {
      {"bytes", bytes},
      {"note",
       bytes < enough_shm ? "below 512 MB: give the container more (docker --shm-size=1g)" : ""}};
}

// Version 1 has a huge number or -1 for what version 2 calls max.
std::string group_limit(const std::string& value) {
  constexpr std::size_t digits_of_no_limit = 19;
  if (value == "unknown") return "not set here";
  if (value == "-1" || value.starts_with("max") || value.size() >= digits_of_no_limit)
    return "no limit";
  return value;
}

json control_group() {
  const bool unified = read_text_file("/sys/fs/cgroup/cgroup.controllers").has_value();
  json group = {{"version", unified ? 2 : 1}, {"path", first_line("/proc/self/cgroup")}};
  const char* names[][2] = {
      {"memory_max",
       unified ? "/sys/fs/cgroup/memory.max" : "/sys/fs/cgroup/memory/memory.limit_in_bytes"},
      {"cpu_max", unified ? "/sys/fs/cgroup/cpu.max" : "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"}};
  for (const auto& [key, path] : names) group[key] = group_limit(first_line(path));
  return group;
}

json numa(const std::string& path) {
  json nodes = json::array();
  for (const int node : aio::numa_nodes())
    nodes.push_back({{"node", node}, {"cpus", aio::cpus_of_node(node)}});
  const std::string paths[] = {path};
  return {{"nodes", nodes}, {"storage_node", aio::numa_node_under(paths)}};
}

json engines_json(const std::string& path) {
  json engines = json::array();
  for (const aio::EngineProbe& probe : aio::probe_engines(path))
    engines.push_back({{"engine", aio::to_string(probe.engine)},
                       {"works", probe.works},
                       {"reason", probe.reason}});
  return engines;
}

// What --device takes here.
json compute_devices() {
  const auto gpu = look_at_cuda_device(0);
  return json::array({{{"device", "cpu"}, {"usable", true}, {"reason", ""}},
                      {{"device", "cuda"},
                       {"usable", gpu.has_value()},
                       {"reason", gpu ? gpu->name : gpu.error().message()}}});
}

std::string limit_text(const json& limit) {
  if (limit.is_number()) return format_bytes(limit.get<std::uint64_t>());
  return limit.is_string() ? limit.get<std::string>() : "unknown";
}

class Lines {
 public:
  template <class... Args>
  void add(const char* head, fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format("{:<10}", head);
    text_ += fmt::format(format, std::forward<Args>(args)...);
    text_ += '\n';
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void storage_lines(Lines& lines, const json& d) {
  const json& storage = d["storage"];
  lines.add("storage", "{} on {}{}{}", storage["path"].get<std::string>(),
            storage["file_system"].get<std::string>(), storage["devices"].empty() ? "" : ", ",
            fmt::join(storage["devices"].get<std::vector<std::string>>(), " > "));
  if (!storage["note"].get<std::string>().empty())
    lines.add("", "{}", storage["note"].get<std::string>());
  for (const json& engine : d["engines"])
    lines.add("", "{}{}", engine["engine"].get<std::string>(),
              engine["works"].get<bool>() ? " works" : ": " + engine["reason"].get<std::string>());
}

void memory_lines(Lines& lines, const json& d) {
  lines.add("memory", "{} available ({})", format_bytes(d["memory"]["available"]),
            d["memory"]["limit"].get<std::string>());
  const json& huge = d["huge_pages"];
  lines.add("pages", "the arena gets: {}; transparent: {}; reserved: {}",
            huge["arena_gets"].get<std::string>(), huge["transparent"].get<std::string>(),
            huge["reserved"].get<std::string>());
  lines.add("limits", "memlock {}, open files {}", limit_text(d["limits"]["memlock"]),
            d["limits"]["open_files"].is_number()
                ? std::to_string(d["limits"]["open_files"].get<std::uint64_t>())
                : "unlimited");
  const json& group = d["cgroup"];
  lines.add("cgroup", "version {}: memory {}, cpu {}", group["version"].get<int>(),
            group["memory_max"].get<std::string>(), group["cpu_max"].get<std::string>());
  const json& shm = d["shm"];
  lines.add("shm", "{}{}{}", format_bytes(shm["bytes"]),
            shm["note"].get<std::string>().empty() ? "" : "; ", shm["note"].get<std::string>());
  const json& nodes = d["numa"]["nodes"];
  const int storage_node = d["numa"]["storage_node"];
  lines.add("numa", "{} node{}{}", nodes.size(), nodes.size() == 1 ? "" : "s",
            storage_node >= 0 ? fmt::format("; the storage is at node {}", storage_node) : "");
}

}  // namespace

json environment(const std::string& path) {
  const aio::MemoryLimit memory = aio::memory_limit();
  const aio::DeviceChain chain = aio::device_under(path);
  json devices = json::array(), facilities = json::array();
  for (const aio::BlockDevice& device : chain.devices) devices.push_back(device.name);
  for (const Facility& facility :
       {find_cuda_driver(), find_nccl(), find_mpi(), find_gpudirect_storage()})
    facilities.push_back(facility_json(facility));
  return {{"versions", versions()},
          {"cpu",
           {{"threads", std::thread::hardware_concurrency()},
            {"simd", kernels::active_simd_target()},
            {"fast_bf16", has_fast_bf16()}}},
          {"memory", {{"available", memory.available}, {"limit", memory.reason}}},
          {"huge_pages", huge_pages()},
          {"transparent_hugepages", first_line("/sys/kernel/mm/transparent_hugepage/enabled")},
          {"hugetlb_pages", first_line("/proc/sys/vm/nr_hugepages")},
          {"limits", {{"memlock", limit(RLIMIT_MEMLOCK)}, {"open_files", limit(RLIMIT_NOFILE)}}},
          {"cgroup", control_group()},
          {"shm", shared_memory()},
          {"numa", numa(path)},
          {"storage",
           {{"path", path},
            {"file_system", chain.file_system},
            {"devices", devices},
            {"note", chain.note}}},
          {"engines", engines_json(path)},
          {"compute", compute_devices()},
          {"facilities", facilities},
          {"device", "cpu"}};
}

std::string environment_text(const json& d) {
  Lines lines;
  for (const auto& [name, version] : d["versions"].items())
    lines.add(name.c_str(), "{}", version.get<std::string>());
  lines.add("cpu", "{} threads, SIMD {}, bf16 {}", d["cpu"]["threads"].get<unsigned>(),
            d["cpu"]["simd"].get<std::string>(),
            d["cpu"]["fast_bf16"].get<bool>() ? "native" : "computed in fp32");
  memory_lines(lines, d);
  storage_lines(lines, d);
  for (const json& device : d["compute"])
    if (!device["usable"].get<bool>())
      lines.add("device", "{}: {}", device["device"].get<std::string>(),
                device["reason"].get<std::string>());
  for (const json& facility : d["facilities"]) {
    const bool usable = facility["usable"].get<bool>();
    lines.add(facility["name"].get<std::string>().c_str(), "{}",
              usable ? facility["version"].get<std::string>()
                     : "not usable: " + facility["reason"].get<std::string>());
    for (const json& device : facility["devices"]) lines.add("", "{}", device.get<std::string>());
  }
  return lines.take();
}

}  // namespace fathom::engine
