// SPDX-License-Identifier: Apache-2.0
#include "aio/device.hpp"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "aio/file_system.hpp"
#include "aio/text_file.hpp"
#include "base/unique_fd.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

namespace fs = std::filesystem;

constexpr unsigned deepest = 8;  // md on dm on md …: more is a loop

std::optional<std::uint64_t> count(const fs::path& file, std::uint64_t unit = 1) {
  const auto value = read_integer(file.string());
  if (!value || *value < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*value) * unit;
}

DeviceLimits read_limits(const fs::path& queue) {
  DeviceLimits limits;
  limits.logical_block = count(queue / "logical_block_size");
  limits.physical_block = count(queue / "physical_block_size");
  limits.max_transfer = count(queue / "max_sectors_kb", KiB);
  limits.max_hardware_transfer = count(queue / "max_hw_sectors_kb", KiB);
  limits.max_segments = count(queue / "max_segments");
  limits.requests = count(queue / "nr_requests");
  if (const auto rotational = count(queue / "rotational")) limits.rotational = *rotational != 0;
  limits.scheduler = active_choice(read_text((queue / "scheduler").string()).value_or(""));
  limits.write_cache = read_text((queue / "write_cache").string()).value_or("");
  return limits;
}

// The node of the nearest ancestor that knows one: the PCI device, not the disk.
int numa_node(fs::path device) {
  for (unsigned step = 0; step < 16 && device.has_relative_path(); ++step) {
    if (const auto node = read_integer((device / "numa_node").string()))
      return static_cast<int>(*node);
    if (device.parent_path() == device) break;
    device = device.parent_path();
  }
  return -1;
}

void follow(fs::path device, unsigned depth, DeviceChain& chain) {
  std::error_code error;
  // A partition has no queue of its own: its parent directory is the whole disk.
  if (fs::exists(device / "partition", error)) device = device.parent_path();
  const std::string name = device.filename().string();
  if (depth >= deepest || std::ranges::any_of(chain.devices, [&](const BlockDevice& known) {
        return known.name == name;
      }))
    return;
  const std::size_t index = chain.devices.size();
  chain.devices.push_back({name, depth, true, read_limits(device / "queue"), numa_node(device)});
  std::vector<fs::path> members;
  for (fs::directory_iterator at(device / "slaves", error), end; !error && at != end;
       at.increment(error))
    members.push_back(at->path());
  std::ranges::sort(members);
  for (const fs::path& member : members) {
    const fs::path real = fs::canonical(member, error);
    if (error) {
      chain.note = fmt::format("{} of {} cannot be followed", member.filename().string(), name);
      continue;
    }
    chain.devices[index].leaf = false;
    follow(real, depth + 1, chain);
  }
}

// File systems with a device number of their own (btrfs, overlays) name the real one in mountinfo:
// "id parent major:minor root mount-point options … - type source options".
std::optional<dev_t> mount_source(dev_t device, const std::string& mountinfo) {
  const std::string wanted = fmt::format("{}:{}", major(device), minor(device));
  std::istringstream lines(mountinfo);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id, parent, number, word, type, source;
    words >> id >> parent >> number;
    if (number != wanted) continue;
    while (words >> word && word != "-") {
    }
    words >> type >> source;
    struct stat info{};
    if (source.starts_with("/dev/") && ::stat(source.c_str(), &info) == 0 && S_ISBLK(info.st_mode))
      return info.st_rdev;
  }
  return std::nullopt;
}

}  // namespace

std::string active_choice(std::string_view text) {
  const auto open = text.find('[');
  const auto close = text.find(']', open == std::string_view::npos ? 0 : open);
  if (open == std::string_view::npos || close == std::string_view::npos) return std::string(text);
  return std::string(text.substr(open + 1, close - open - 1));
}

DeviceChain device_chain(unsigned major_number, unsigned minor_number, const std::string& sysfs) {
  DeviceChain chain;
  std::error_code error;
  const fs::path link =
      fs::path(sysfs) / "dev/block" / fmt::format("{}:{}", major_number, minor_number);
  const fs::path device = fs::canonical(link, error);
  if (error) {
    chain.note = fmt::format("no block device {}:{} in {}", major_number, minor_number, sysfs);
    return chain;
  }
  follow(device, 0, chain);
  return chain;
}

DeviceChain device_under(const std::string& directory) {
  DeviceChain chain;
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat info{};
  if (!fd || ::fstat(fd.get(), &info) != 0) {
    chain.note = "the directory cannot be opened";
    return chain;
  }
  const std::string file_system = file_system_of(fd.get()).name;
  dev_t device = info.st_dev;
  if (major(device) == 0) {
    if (const auto source = mount_source(device, read_text("/proc/self/mountinfo").value_or("")))
      device = *source;
  }
  chain = device_chain(major(device), minor(device), "/sys");
  chain.file_system = file_system;
  if (chain.devices.empty()) chain.note = file_system + " has no block device of its own here";
  return chain;
}

std::uint64_t command_bytes(const DeviceLimits& limits, std::uint64_t block) {
  std::uint64_t most = block;
  if (limits.max_transfer && *limits.max_transfer > 0) most = std::min(most, *limits.max_transfer);
  if (limits.max_segments && *limits.max_segments > 0)
    most = std::min(most, *limits.max_segments * 2 * MiB);
  return std::max<std::uint64_t>(most, 1);
}

unsigned in_flight_limit(const DeviceChain& chain, std::uint64_t block, unsigned wanted) {
  std::uint64_t limit = std::max(1U, wanted);
  for (const BlockDevice& device : chain.devices) {
    if (!device.limits.requests || *device.limits.requests == 0) continue;
    const std::uint64_t commands = ceil_div(block, command_bytes(device.limits, block));
    limit = std::min(limit, std::max<std::uint64_t>(1, *device.limits.requests / 2 / commands));
  }
  return static_cast<unsigned>(limit);
}

}  // namespace fathom::aio
