// SPDX-License-Identifier: Apache-2.0
//
// Hosts and slots of a job: DeepSpeed's hostfile and its filters.
//
// Purpose      "worker-0 slots=8" a line, # begins a comment; --include and --exclude name hosts
//              and slots as NAME[:SLOT,…][@NAME…]; --num_nodes and --num_gpus take the first of
//              them. The order is the hostfile's.
// Threads      Pure.
// Units        A slot is one rank, and the GPU of that number where there are GPUs.
//
//   FATHOM_ASSIGN(Hosts hosts, parse_hostfile("a slots=2\nb slots=2\n", "hostfile"));
//   FATHOM_ASSIGN(hosts, select_hosts(hosts, {.include = "a:1@b"}));   // a: 1; b: 0, 1
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace fathom::engine {

struct Host {
  std::string name;
  std::vector<int> slots;
  bool operator==(const Host&) const = default;
};
using Hosts = std::vector<Host>;

// Errors name `path` and the line.
Result<Hosts> parse_hostfile(std::string_view text, std::string_view path);

struct Selection {
  std::string include = {}, exclude = {};  // empty: not given
  std::optional<int> nodes = {}, slots = {};
};

// Errors: bad_config for filters that contradict each other, unknown hosts and slots, and
// selections that leave nothing.
Result<Hosts> select_hosts(const Hosts& hosts, const Selection& selection);

// Slots of CUDA_VISIBLE_DEVICES ("0,2"); nothing when it holds no plain numbers.
std::optional<std::vector<int>> parse_slots(std::string_view text);

}  // namespace fathom::engine
