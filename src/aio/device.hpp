// SPDX-License-Identifier: Apache-2.0
//
// Device: the block devices under a directory and what they can take.
//
// Purpose      Follows sysfs from the file system's device down: partition to whole disk, md and dm
//              to their members. The limits decide how many operations may be in flight before
//              submission itself blocks on tags, and the preflight of aio_bench prints them.
// Threads      Stateless.
// Units        Bytes; what sysfs counts in KiB or sectors is converted.
//
//   const DeviceChain chain = device_under("/mnt/nvme0");
//   unsigned in_flight = in_flight_limit(chain, 1 * MiB, 64);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::aio {

// What /sys/block/NAME/queue says; absent where the kernel says nothing.
struct DeviceLimits {
  std::optional<std::uint64_t> logical_block, physical_block;  // bytes
  std::optional<std::uint64_t> max_transfer;                   // bytes of one command, soft limit
  std::optional<std::uint64_t> max_hardware_transfer;          // bytes, what the hardware allows
  std::optional<std::uint64_t> max_segments;
  std::optional<std::uint64_t> requests;  // nr_requests: tags
  std::optional<bool> rotational;
  std::string scheduler;  // the active one
  std::string write_cache;
};

struct BlockDevice {
  std::string name;    // "nvme0n1"
  unsigned depth = 0;  // 0: what the file system lies on; members of md and dm below it
  bool leaf = false;   // real hardware, as far as this kernel can see
  DeviceLimits limits;
  int numa_node = -1;  // -1: unknown or none
};

struct DeviceChain {
  std::string file_system;           // "ext4"
  std::vector<BlockDevice> devices;  // top first; empty when there is no block device (tmpfs, NFS)
  std::string note;                  // why it is empty or incomplete
};

// Never fails: what cannot be found is absent and explained in `note`.
DeviceChain device_under(const std::string& directory);

// The chain for device number major:minor in the sysfs tree at `sysfs` (normally "/sys").
DeviceChain device_chain(unsigned major, unsigned minor, const std::string& sysfs);

// The bracketed word of "mq-deadline kyber [none]"; the whole text when nothing is bracketed.
std::string active_choice(std::string_view text);

// Bytes of one device command for blocks of `block` bytes in huge-page buffers.
std::uint64_t command_bytes(const DeviceLimits& limits, std::uint64_t block);

// At most `wanted` operations, so that their commands use at most half of the tags of the device
// with the fewest; at least 1.
unsigned in_flight_limit(const DeviceChain& chain, std::uint64_t block, unsigned wanted);

}  // namespace fathom::aio
