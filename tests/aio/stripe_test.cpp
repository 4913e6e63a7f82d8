// SPDX-License-Identifier: Apache-2.0
//
// One run of bytes over several queues; the device profile; what GPUDirect Storage is here.
#include "aio/stripe.hpp"

#include <array>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "aio/device_profile.hpp"
#include "aio/faulty_backend.hpp"
#include "aio/gds.hpp"
#include "aio/posix_backend.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace fathom::aio {
namespace {

class Stripe : public testing::Test {
 protected:
  static constexpr std::size_t count = 3;
  void SetUp() override {
    for (std::size_t i = 0; i < count; ++i) {
      auto faulty =
          std::make_unique<FaultyBackend>(make_posix_backend(4), std::vector<FaultRule>{});
      faults_[i] = faulty.get();
      queues_[i] = Queue::over(std::move(faulty), {.block_size = 256 * KiB, .queue_depth = 4});
      auto file = File::create_scratch(directory_.path(), 12 * MiB);
      ASSERT_TRUE(file) << file.error().message();
      files_[i] = std::move(*file);
    }
  }
  std::vector<StripePath> paths(std::vector<double> weights) {
    std::vector<StripePath> all;
    for (std::size_t i = 0; i < weights.size(); ++i)
      all.push_back({queues_[i].get(), &files_[i], weights[i]});
    return all;
  }
  static Result<void> run(const StripedFile& whole, Direction direction, std::uint64_t offset,
                          const Block& block) {
    std::promise<Result<void>> promise;
    whole.submit(
        {.direction = direction, .offset = offset, .buffer = block.data(), .bytes = block.size()},
        [&](Result<void> done) { promise.set_value(std::move(done)); });
    return promise.get_future().get();
  }

  ScratchDirectory directory_;
  std::array<File, count> files_;
  std::array<std::unique_ptr<Queue>, count> queues_;
  std::array<FaultyBackend*, count> faults_ = {};
};

TEST_F(Stripe, EveryByteHasOnePlaceAndPathsGetTheirShare) {
  const auto whole = StripedFile::over(paths({3, 1, 2}), 1 * MiB);
  ASSERT_TRUE(whole) << whole.error().message();
  std::set<std::pair<std::size_t, std::uint64_t>> seen;
  std::array<std::uint64_t, count> bytes = {};
  for (std::uint64_t at = 0; at < whole->size(); at += 1 * MiB) {
    const auto place = whole->place(at);
    EXPECT_TRUE(seen.emplace(place.path, place.offset).second) << "two bytes in one place";
    EXPECT_LE(place.offset + 1 * MiB, files_[place.path].size());
    EXPECT_EQ(whole->place(at + 4097).offset, place.offset + 4097);
    bytes[place.path] += 1 * MiB;
    // At every point of the run each path is within a chunk of its share.
    for (std::size_t i = 0; i < count; ++i) {
      const double share = (i == 0 ? 3.0 : i == 1 ? 1.0 : 2.0) / 6;
      EXPECT_NEAR(static_cast<double>(bytes[i]), share * static_cast<double>(at + 1 * MiB), 1 * MiB)
          << i << " after " << at;
    }
  }
  EXPECT_EQ(bytes[0], 12 * MiB);
  EXPECT_EQ(bytes[1], 4 * MiB);
  EXPECT_EQ(bytes[2], 8 * MiB);
}

TEST_F(Stripe, AnyRangeComesBackAsWrittenFromEveryDeviceAtOnce) {
  for (const std::uint64_t chunk : {1 * MiB, 2 * MiB, 4 * MiB}) {
    const auto whole = StripedFile::over(paths({1, 1, 1}), chunk);
    ASSERT_TRUE(whole) << whole.error().message();
    for (const std::uint64_t offset : {std::uint64_t{0}, 4 * KiB, 3 * MiB - 8 * KiB}) {
      Block out(9 * MiB + 4 * KiB), in(9 * MiB + 4 * KiB);
      out.fill(chunk + offset);
      std::array<std::uint64_t, count> before = {};
      for (std::size_t i = 0; i < count; ++i) before[i] = queues_[i]->counters().bytes_written;
      ASSERT_TRUE(run(*whole, Direction::write, offset, out));
      for (std::size_t i = 0; i < count; ++i)
        EXPECT_GT(queues_[i]->counters().bytes_written, before[i]) << i;
      const auto read = run(*whole, Direction::read, offset, in);
      ASSERT_TRUE(read) << read.error().message();
      EXPECT_EQ(in, out) << chunk << " at " << offset;
    }
  }
}

TEST_F(Stripe, OnePathIsThePlainFile) {
  const auto whole = StripedFile::over(paths({5}));
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->size(), 12 * MiB);
  const std::uint64_t before = queues_[0]->counters().operations;
  Block block(8 * MiB);
  ASSERT_TRUE(run(*whole, Direction::write, 1 * MiB, block));
  EXPECT_EQ(queues_[0]->counters().operations - before, 8 * MiB / (256 * KiB));
  EXPECT_EQ(whole->place(5 * MiB + 1).offset, 5 * MiB + 1);
}

TEST_F(Stripe, TheErrorAtTheLowestOffsetIsReportedOnceAllPiecesAreBack) {
  const auto whole = StripedFile::over(paths({1, 1, 1}), 1 * MiB);
  ASSERT_TRUE(whole);
  faults_[1]->set_rules({{.fault = Fault::no_space, .at = 1, .for_ever = true}});
  faults_[2]->set_rules({{.fault = Fault::device_error, .at = 1, .for_ever = true}});
  Block block(6 * MiB);
  const auto done = run(*whole, Direction::write, 0, block);
  ASSERT_FALSE(done);
  const bool second_first = whole->place(1 * MiB).path == 1;
  EXPECT_EQ(done.error().code(), second_first ? Errc::no_space : Errc::io);
  for (FaultyBackend* faults : faults_) faults->set_rules({});
  EXPECT_TRUE(run(*whole, Direction::write, 0, block));
}

TEST_F(Stripe, WhatCannotBeStripedIsRefused) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(StripedFile::over({}));
  EXPECT_FALSE(StripedFile::over(paths({1, 0})));
  EXPECT_FALSE(StripedFile::over(paths({1, nan})));
  EXPECT_FALSE(StripedFile::over(paths({1, 1}), 512 * KiB));
  EXPECT_FALSE(StripedFile::over(paths({1, 1}), 3 * MiB));
  EXPECT_FALSE(StripedFile::over(paths({1, 1}), 8 * MiB));
  const auto large = StripedFile::over(paths({61, 59, 1}), 1 * MiB);
  ASSERT_FALSE(large) << "a deal of 64 chunks does not fit";
  EXPECT_EQ(large.error().code(), Errc::bad_config);
}

TEST(DeviceProfile, ComesBackAsWritten) {
  const DeviceProfile profile{.read = 2.5e9,
                              .write = 3e9,
                              .duplex = 0.15,
                              .latency = 1.2e-4,
                              .paths = {{"/mnt/a", 1.5e9, 1.6e9}, {"/mnt/b \"x\"", 1e9, 1.4e9}}};
  const auto read = parse_device_profile(to_json(profile), "text");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->read, profile.read);
  EXPECT_EQ(read->write, profile.write);
  EXPECT_EQ(read->duplex, profile.duplex);
  EXPECT_EQ(read->latency, profile.latency);
  ASSERT_EQ(read->paths.size(), 2U);
  EXPECT_EQ(read->paths[1].path, profile.paths[1].path);
  EXPECT_EQ(read->paths[1].write, profile.paths[1].write);
  EXPECT_TRUE(parse_device_profile(R"({"seconds": 1, "profile": )" + to_json(profile) + "}", "r"));
}

TEST(DeviceProfile, RefusesWhatIsNoProfileByItsKey) {
  const std::string good =
      to_json({.read = 1e9, .write = 1e9, .duplex = 0.1, .latency = 1e-4, .paths = {}});
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"read_bytes_per_second\": 1000000000.0", "\"read_bytes_per_second\": -1"},
           {"\"write_bytes_per_second\": 1000000000.0", "\"write_bytes_per_second\": \"fast\""},
           {"\"duplex\": 0.1", "\"duplex\": 1.5"},
           {"\"latency_seconds\"", "\"latency\""},
           {"\"paths\": []", "\"paths\": [{\"path\": 3}]"}}) {
    std::string text = good;
    const auto at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    const auto read = parse_device_profile(text, "bad.json");
    ASSERT_FALSE(read) << to;
    EXPECT_EQ(read.error().code(), Errc::bad_input);
    EXPECT_NE(read.error().message().find("bad.json"), std::string::npos);
  }
  for (const char* text : {"", "[]", "{", "null", "{\"profile\": []}"})
    EXPECT_FALSE(parse_device_profile(text, "t")) << text;
  EXPECT_FALSE(read_device_profile("/nonexistent/profile.json"));
}

class Gds : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& text = "") {
    const std::filesystem::path whole = root_.path() + path;
    std::filesystem::create_directories(whole.parent_path());
    std::ofstream(whole) << text;
  }
  static BlockDevice device(const char* name, unsigned depth, bool leaf) {
    BlockDevice made;
    made.name = name;
    made.depth = depth;
    made.leaf = leaf;
    return made;
  }
  GdsProbe probe(std::vector<BlockDevice> devices) {
    DeviceChain chain;
    chain.devices = std::move(devices);
    chain.note = "no block device";
    return probe_gds(chain, root_.path(), "libc.so.6");  // a library that is there
  }
  ScratchDirectory root_;
  const std::vector<BlockDevice> drive_ = {device("nvme0n1", 0, true)};
  const std::vector<BlockDevice> raid_ = {device("md0", 0, false), device("nvme0n1", 1, true),
                                          device("nvme1n1", 1, true)};
  const std::vector<BlockDevice> other_ = {device("sda", 0, true)};
};

TEST_F(Gds, WithoutTheLibraryItIsAbsent) {
  const GdsProbe gds = probe_gds({}, root_.path(), "libfathom-no-such-library.so.0");
  EXPECT_EQ(to_string(gds), "absent");
  EXPECT_NE(gds.reason.find("libfathom-no-such-library"), std::string::npos) << gds.reason;
}

TEST_F(Gds, WithTheLibraryAloneItIsCompatAndSaysWhatThatMeans) {
  for (const auto& devices : {drive_, raid_, other_, std::vector<BlockDevice>()}) {
    const GdsProbe gds = probe(devices);
    EXPECT_EQ(to_string(gds), "compat");
    EXPECT_NE(gds.reason.find("copy through host memory"), std::string::npos) << gds.reason;
  }
}

TEST_F(Gds, NvidiaFsMakesItActiveOnNvmeDrivesAlone) {
  put("/proc/driver/nvidia-fs/version");
  EXPECT_EQ(to_string(probe(drive_)), "compat") << "the module without its device";
  put("/dev/nvidia-fs0");
  EXPECT_EQ(to_string(probe(drive_)), "active (nvfs)");
  EXPECT_EQ(to_string(probe(raid_)), "active (nvfs)");
  EXPECT_EQ(to_string(probe(other_)), "compat");
}

TEST_F(Gds, PeerMemoryOfAGpuMakesItActiveOnOneDrive) {
  put("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
  put("/sys/bus/pci/devices/0000:02:00.0/vendor", "0x8086\n");
  put("/sys/bus/pci/devices/0000:02:00.0/p2pmem/size", "4096\n");
  EXPECT_EQ(to_string(probe(drive_)), "compat") << "the memory is another device's";
  put("/sys/bus/pci/devices/0000:01:00.0/p2pmem/size", "85899345920\n");
  EXPECT_EQ(to_string(probe(drive_)), "active (p2pdma)");
  EXPECT_EQ(to_string(probe(raid_)), "compat") << "md passes no transfers between devices on";
}

}  // namespace
}  // namespace fathom::aio
