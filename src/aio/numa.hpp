// SPDX-License-Identifier: Apache-2.0
//
// NUMA: which memory node a path's devices hang on, and staying near it.
//
// Purpose      A transfer between a drive and memory of the other socket crosses the link between
//              them twice. The queue's thread and the arena's pages therefore stay on the node of
//              the device, where that node is known; on machines with one node nothing happens.
// Threads      Stateless; bind_thread_to_node changes the calling thread.
//
//   const int node = numa_node_under({"/mnt/nvme0", "/mnt/nvme1"});
//   FATHOM_ASSIGN(aio::Arena arena, aio::Arena::allocate(1 * GiB, node));
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "aio/device.hpp"

namespace fathom::aio {

// The numbers of a kernel list such as "0-3,8"; empty when it is not one.
std::vector<int> parse_cpu_list(std::string_view text);

// The nodes that are online in the sysfs tree at `sysfs`.
std::vector<int> numa_nodes(const std::string& sysfs = "/sys");

// The processors of a node; empty when there is no such node, or only one.
std::vector<int> cpus_of_node(int node, const std::string& sysfs = "/sys");

// The node that all real devices of the chain hang on; -1 when one is unknown or they differ.
int numa_node(const DeviceChain& chain);
// The same over several directories.
int numa_node_under(std::span<const std::string> directories);

// Keeps the calling thread on the node's processors, within those that it may use already. Does
// nothing, and says so, for -1, on machines with one node, and where none of them may be used.
bool bind_thread_to_node(int node, const std::string& sysfs = "/sys");

// Asks the kernel to take the pages of untouched memory from `node` while it has any. Does nothing,
// and says so, for -1 and on machines with one node.
bool prefer_node(std::byte* data, std::uint64_t bytes, int node, const std::string& sysfs = "/sys");

}  // namespace fathom::aio
