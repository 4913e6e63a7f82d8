// SPDX-License-Identifier: Apache-2.0
#include <thread>

#include <fmt/format.h>

#include "aio/device.hpp"
#include "aio/engines.hpp"
#include "aio/memory_limits.hpp"
#include "base/text_file.hpp"
#include "base/units.hpp"
#include "commands.hpp"
#include "engine/machine.hpp"
#include "engine/versions.hpp"
#include "kernels/targets.hpp"
#include "options.hpp"

namespace fathom::tools {
namespace {

using nlohmann::json;

std::string first_line(const char* path) {
  auto text = read_text_file(path);
  if (!text) return "unknown";
  return text->substr(0, text->find('\n'));
}

json describe(const std::string& path) {
  const aio::MemoryLimit memory = aio::memory_limit();
  const aio::DeviceChain chain = aio::device_under(path);
  json engines = json::array(), devices = json::array();
  for (const aio::EngineProbe& probe : aio::probe_engines(path))
    engines.push_back({{"engine", aio::to_string(probe.engine)},
                       {"works", probe.works},
                       {"reason", probe.reason}});
  for (const aio::BlockDevice& device : chain.devices) devices.push_back(device.name);
  return {{"versions", engine::versions()},
          {"cpu",
           {{"threads", std::thread::hardware_concurrency()},
            {"simd", kernels::active_simd_target()},
            {"fast_bf16", engine::has_fast_bf16()}}},
          {"memory", {{"available", memory.available}, {"limit", memory.reason}}},
          {"transparent_hugepages", first_line("/sys/kernel/mm/transparent_hugepage/enabled")},
          {"hugetlb_pages", first_line("/proc/sys/vm/nr_hugepages")},
          {"storage",
           {{"path", path},
            {"file_system", chain.file_system},
            {"devices", devices},
            {"note", chain.note}}},
          {"engines", engines},
          {"device", "cpu"}};
}

std::string text(const json& d) {
  std::string out;
  for (const auto& [name, version] : d["versions"].items())
    out += fmt::format("{:<10}{}\n", name, version.get<std::string>());
  out += fmt::format("{:<10}{} threads, SIMD {}, bf16 {}\n", "cpu",
                     d["cpu"]["threads"].get<unsigned>(), d["cpu"]["simd"].get<std::string>(),
                     d["cpu"]["fast_bf16"].get<bool>() ? "native" : "computed in fp32");
  out += fmt::format(
      "{:<10}{} available ({}); huge pages: {}, {} reserved\n", "memory",
      format_bytes(d["memory"]["available"]), d["memory"]["limit"].get<std::string>(),
      d["transparent_hugepages"].get<std::string>(), d["hugetlb_pages"].get<std::string>());
  out += fmt::format("{:<10}{} on {}\n", "storage", d["storage"]["path"].get<std::string>(),
                     d["storage"]["file_system"].get<std::string>());
  for (const json& engine : d["engines"])
    out += fmt::format(
        "{:<10}{}{}\n", "", engine["engine"].get<std::string>(),
        engine["works"].get<bool>() ? " works" : ": " + engine["reason"].get<std::string>());
  return out;
}

}  // namespace

Command add_env(CLI::App& app) {
  const auto path = std::make_shared<std::string>(".");
  const auto as_json = std::make_shared<bool>(false);
  app.add_option("--path", *path, "directory to probe the I/O engines in")->capture_default_str();
  app.add_flag("--json", *as_json, "one JSON document on stdout");
  return [path, as_json]() -> Result<int> {
    const json document = describe(*path);
    FATHOM_CHECK(*as_json ? print_json(document) : print_text(text(document)));
    return exit_ok;
  };
}

}  // namespace fathom::tools
