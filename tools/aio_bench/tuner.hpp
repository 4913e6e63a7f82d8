// SPDX-License-Identifier: Apache-2.0
//
// Tuner: looks at the paths (preflight), then times the arms on them.
//
// Purpose      Every round visits every arm in a new random order, so that drift of the machine
// hits
//              all arms alike. Each path gets one nameless scratch file that is written once.
// Threads      Blocking; `stop` may be set from a signal handler.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "aio/arena.hpp"
#include "aio/device.hpp"
#include "aio/engines.hpp"
#include "base/result.hpp"
#include "select.hpp"

namespace fathom::aio_bench {

struct Options {
  std::vector<std::string> paths;
  double size_gib = 4;
  double max_write_gib = 32;
  double seconds = 60;
  aio::Engine engine = aio::Engine::automatic;
};

struct PathFacts {
  std::string path;
  aio::DeviceChain chain;
  std::vector<aio::EngineProbe> engines;
  std::uint64_t free_bytes = 0, file_bytes = 0;
};

struct Preflight {
  std::vector<PathFacts> paths;
  std::vector<aio::Engine> engines;  // asked for and working on every path
  std::vector<Arm> arms;
  std::string huge_pages, memory;  // for people
};

struct Row {  // of trials.csv
  unsigned round = 0;
  std::string path;
  Arm arm;
  aio::Direction direction = aio::Direction::read;
  std::uint64_t bytes = 0;
  double seconds = 0;
};

struct Outcome {
  std::vector<Measured> arms;  // rates of all paths together
  std::vector<Row> rows;
  aio::PageKind pages = aio::PageKind::small;
  double prepare_rate = 0;  // bytes per second of the first writing, over all paths
  std::uint64_t written = 0;
  unsigned rounds = 0;
  bool write_budget_spent = false;
};

// Errors: a path that is missing or full, an engine that was forced and does not work.
Result<Preflight> look(const Options& options);

Result<Outcome> tune(const Options& options, const Preflight& preflight,
                     const std::atomic<bool>& stop);

}  // namespace fathom::aio_bench
