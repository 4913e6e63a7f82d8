// SPDX-License-Identifier: Apache-2.0
//
// Device chains read from sysfs trees that the tests build.
#include "aio/device.hpp"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "aio/queue.hpp"
#include "base/units.hpp"
#include "scratch_directory.hpp"

namespace fathom::aio {
namespace {

namespace fs = std::filesystem;

class SysfsTree : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& text) {
    const fs::path whole = fs::path(root_.path()) / path;
    fs::create_directories(whole.parent_path());
    std::ofstream(whole) << text << "\n";
  }
  void link(const std::string& from, const std::string& to) {
    const fs::path whole = fs::path(root_.path()) / from;
    fs::create_directories(whole.parent_path());
    fs::create_symlink(fs::path(root_.path()) / to, whole);
  }
  void disk(const std::string& where, const std::string& requests, const std::string& kib) {
    put(where + "/queue/nr_requests", requests);
    put(where + "/queue/max_sectors_kb", kib);
    put(where + "/queue/max_segments", "127");
    put(where + "/queue/logical_block_size", "512");
    put(where + "/queue/rotational", "0");
    put(where + "/queue/scheduler", "[none] mq-deadline kyber");
  }
  ScratchDirectory root_;
};

TEST_F(SysfsTree, APartitionLeadsToItsDiskAndTheNodeOfItsBus) {
  const std::string pci = "devices/pci0000:00/0000:01:00.0";
  const std::string name = pci + "/nvme/nvme0/nvme0n1";
  put(pci + "/numa_node", "1");
  disk(name, "1023", "512");
  put(name + "/nvme0n1p2/partition", "2");
  link("dev/block/259:2", name + "/nvme0n1p2");
  const DeviceChain chain = device_chain(259, 2, root_.path());
  ASSERT_EQ(chain.devices.size(), 1U) << chain.note;
  const BlockDevice& device = chain.devices[0];
  EXPECT_EQ(device.name, "nvme0n1");
  EXPECT_TRUE(device.leaf);
  EXPECT_EQ(device.numa_node, 1);
  EXPECT_EQ(device.limits.requests, 1023U);
  EXPECT_EQ(device.limits.max_transfer, 512 * KiB);
  EXPECT_EQ(device.limits.logical_block, 512U);
  EXPECT_EQ(device.limits.rotational, false);
  EXPECT_EQ(device.limits.scheduler, "none");
  EXPECT_FALSE(device.limits.max_hardware_transfer.has_value());
}

TEST_F(SysfsTree, StackedDevicesAreFollowedToEveryMemberOnce) {
  disk("devices/virtual/block/dm-0", "128", "1280");
  disk("devices/virtual/block/md0", "128", "1280");
  disk("devices/a/block/sda", "64", "512");
  disk("devices/b/block/sdb", "32", "256");
  put("devices/b/block/sdb/sdb1/partition", "1");
  link("devices/virtual/block/dm-0/slaves/md0", "devices/virtual/block/md0");
  link("devices/virtual/block/md0/slaves/sda", "devices/a/block/sda");
  link("devices/virtual/block/md0/slaves/sdb1", "devices/b/block/sdb/sdb1");
  link("dev/block/253:0", "devices/virtual/block/dm-0");
  const DeviceChain chain = device_chain(253, 0, root_.path());
  ASSERT_EQ(chain.devices.size(), 4U);
  EXPECT_EQ(chain.devices[0].name, "dm-0");
  EXPECT_EQ(chain.devices[1].name, "md0");
  EXPECT_EQ(chain.devices[2].name, "sda");
  EXPECT_EQ(chain.devices[3].name, "sdb");
  EXPECT_EQ(chain.devices[3].depth, 2U);
  EXPECT_FALSE(chain.devices[0].leaf);
  EXPECT_FALSE(chain.devices[1].leaf);
  EXPECT_TRUE(chain.devices[2].leaf);
}

TEST_F(SysfsTree, ALoopOfMembersEnds) {
  disk("devices/virtual/block/dm-0", "128", "1280");
  disk("devices/virtual/block/dm-1", "128", "1280");
  link("devices/virtual/block/dm-0/slaves/dm-1", "devices/virtual/block/dm-1");
  link("devices/virtual/block/dm-1/slaves/dm-0", "devices/virtual/block/dm-0");
  link("dev/block/253:0", "devices/virtual/block/dm-0");
  EXPECT_EQ(device_chain(253, 0, root_.path()).devices.size(), 2U);
}

TEST_F(SysfsTree, AnUnknownNumberIsExplained) {
  const DeviceChain chain = device_chain(9, 9, root_.path());
  EXPECT_TRUE(chain.devices.empty());
  EXPECT_NE(chain.note.find("9:9"), std::string::npos);
}

TEST_F(SysfsTree, GarbageInAFileIsAbsentNotZero) {
  disk("devices/x/block/vda", "many", "-4");
  link("dev/block/254:0", "devices/x/block/vda");
  const DeviceChain chain = device_chain(254, 0, root_.path());
  ASSERT_EQ(chain.devices.size(), 1U);
  EXPECT_FALSE(chain.devices[0].limits.requests.has_value());
  EXPECT_FALSE(chain.devices[0].limits.max_transfer.has_value());
}

TEST(Device, TheActiveChoiceIsTheBracketedOne) {
  EXPECT_EQ(active_choice("mq-deadline [kyber] none"), "kyber");
  EXPECT_EQ(active_choice("none"), "none");
  EXPECT_EQ(active_choice(""), "");
}

DeviceChain chain_of(std::optional<std::uint64_t> requests, std::uint64_t transfer) {
  BlockDevice device;
  device.limits.requests = requests;
  device.limits.max_transfer = transfer;
  DeviceChain chain;
  chain.devices.push_back(device);
  return chain;
}

TEST(Device, OperationsInFlightUseAtMostHalfOfTheTags) {
  EXPECT_EQ(in_flight_limit(chain_of(256, 1 * MiB), 1 * MiB, 1000), 128U);
  EXPECT_EQ(in_flight_limit(chain_of(256, 128 * KiB), 1 * MiB, 1000), 16U);
  EXPECT_EQ(in_flight_limit(chain_of(256, 128 * KiB), 1 * MiB, 8), 8U);
  EXPECT_EQ(in_flight_limit(chain_of(2, 128 * KiB), 16 * MiB, 8), 1U);
  EXPECT_EQ(in_flight_limit(chain_of(std::nullopt, 128 * KiB), 1 * MiB, 77), 77U);
}

TEST(Device, TheMemberWithTheFewestTagsDecides) {
  DeviceChain chain = chain_of(1024, 1 * MiB);
  chain.devices.push_back(chain_of(8, 1 * MiB).devices[0]);
  EXPECT_EQ(in_flight_limit(chain, 1 * MiB, 1000), 4U);
}

TEST(Device, ADirectoryOfThisMachineHasAFileSystemAndADeviceOrAReason) {
  ScratchDirectory directory;
  const DeviceChain chain = device_under(directory.path());
  EXPECT_FALSE(chain.file_system.empty());
  EXPECT_TRUE(!chain.devices.empty() || !chain.note.empty());
}

}  // namespace
}  // namespace fathom::aio
