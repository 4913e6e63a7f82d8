// SPDX-License-Identifier: Apache-2.0
#include "aio/numa.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include <fmt/format.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aio/text_file.hpp"

namespace fathom::aio {
namespace {

constexpr int most_numbers = 65536;  // more processors or nodes than any kernel has

std::optional<int> take_number(std::string_view& text) {
  int value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || value < 0 || value >= most_numbers) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

}  // namespace

std::vector<int> parse_cpu_list(std::string_view text) {
  std::vector<int> numbers;
  while (!text.empty()) {
    const auto first = take_number(text);
    auto last = first;
    if (first && text.starts_with('-')) {
      text.remove_prefix(1);
      last = take_number(text);
    }
    if (!first || !last || *last < *first) return {};
    for (int number = *first; number <= *last; ++number) numbers.push_back(number);
    if (text.empty()) break;
    if (!text.starts_with(',') || text.size() == 1) return {};
    text.remove_prefix(1);
  }
  return numbers;
}

std::vector<int> numa_nodes(const std::string& sysfs) {
  return parse_cpu_list(read_text(sysfs + "/devices/system/node/online").value_or(""));
}

std::vector<int> cpus_of_node(int node, const std::string& sysfs) {
  const std::vector<int> nodes = numa_nodes(sysfs);
  if (nodes.size() < 2 || std::ranges::find(nodes, node) == nodes.end()) return {};
  return parse_cpu_list(
      read_text(fmt::format("{}/devices/system/node/node{}/cpulist", sysfs, node)).value_or(""));
}

int numa_node(const DeviceChain& chain) {
  std::optional<int> node;
  for (const BlockDevice& device : chain.devices) {
    if (!device.leaf) continue;
    if (node && *node != device.numa_node) return -1;
    node = device.numa_node;
  }
  return std::max(-1, node.value_or(-1));
}

int numa_node_under(std::span<const std::string> directories) {
  std::optional<int> node;
  for (const std::string& directory : directories) {
    const int here = numa_node(device_under(directory));
    if (node && *node != here) return -1;
    node = here;
  }
  return node.value_or(-1);
}

bool bind_thread_to_node(int node, const std::string& sysfs) {
  if (node < 0) return false;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return false;
  cpu_set_t wanted;
  CPU_ZERO(&wanted);
  for (const int cpu : cpus_of_node(node, sysfs)) {
    if (cpu < CPU_SETSIZE && CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &wanted);
  }
  return CPU_COUNT(&wanted) > 0 && ::sched_setaffinity(0, sizeof wanted, &wanted) == 0;
}

bool prefer_node(std::byte* data, std::uint64_t bytes, int node, const std::string& sysfs) {
  constexpr unsigned long bits = 1024, word = 8 * sizeof(unsigned long);
  if (node < 0 || node >= static_cast<int>(bits) || cpus_of_node(node, sysfs).empty()) return false;
  std::array<unsigned long, bits / word> mask{};
  const auto place = static_cast<unsigned long>(node);
  mask.at(place / word) = 1UL << place % word;
  // By system call: libnuma would be a dependency for one line.
  return ::syscall(SYS_mbind, data, bytes, MPOL_PREFERRED, mask.data(), bits + 1, 0UL) == 0;
}

}  // namespace fathom::aio
