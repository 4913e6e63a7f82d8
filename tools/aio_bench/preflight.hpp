// SPDX-License-Identifier: Apache-2.0
//
// Preflight: what there is to measure, before anything is written: devices, engines and why not,
// memory, space, other users of the disk, and what the run would write.
//
// Units        Bytes, bytes per second, seconds.
//
//   FATHOM_ASSIGN(const Preflight preflight, look(options));
//   std::fputs(preflight_text(preflight).c_str(), stdout);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "aio/arena.hpp"
#include "aio/device.hpp"
#include "aio/engines.hpp"
#include "aio/gds.hpp"
#include "arm.hpp"
#include "base/result.hpp"

namespace fathom::aio_bench {

struct Options {
  std::vector<std::string> paths;
  std::optional<double> size_gib;  // of the scratch file of each path; default: by the write budget
  double max_write_gib = 8;
  double seconds = 60;
  aio::Engine engine = aio::Engine::automatic;
  Mix mix = {};
};

struct PathFacts {
  std::string path;
  aio::DeviceChain chain;
  std::vector<aio::EngineProbe> engines;
  aio::GdsProbe gds;
  std::uint64_t free_bytes = 0, file_bytes = 0;
  double others = 0;  // bytes per second that other programs move on the device
};

struct Preflight {
  std::vector<PathFacts> paths;
  std::vector<aio::Engine> engines;  // asked for and working on every path; the first is preferred
  std::vector<Arm> grid;
  Arm control;  // DeepSpeed's default
  aio::PageKind pages = aio::PageKind::small;
  std::string huge_pages, memory;  // for people
  std::uint64_t largest_in_flight = 0;
  std::uint64_t write_budget = 0, preparation = 0;
  std::vector<std::string> notes;
};

// Errors: a path that is missing or full, an engine that was forced and does not work, a write
// budget that does not hold the scratch files.
Result<Preflight> look(const Options& options);

std::string preflight_text(const Preflight& preflight);
nlohmann::ordered_json preflight_json(const Preflight& preflight);

// Bytes that a device has read and written since the system started; nothing where the kernel does
// not count.
struct DeviceBytes {
  std::uint64_t read = 0, written = 0;
  std::uint64_t sum() const { return read + written; }
};
std::optional<DeviceBytes> device_bytes(const aio::DeviceChain& chain);

}  // namespace fathom::aio_bench
