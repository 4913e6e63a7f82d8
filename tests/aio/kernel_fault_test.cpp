// SPDX-License-Identifier: Apache-2.0
//
// Faults that the kernel itself makes: disks that are cut or full, file systems that are shut down,
// short answers, limits and refusals. They need root and skip with the reason elsewhere.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "aio/arena.hpp"
#include "aio/engines.hpp"
#include "aio/libaio_backend.hpp"
#include "fuse_file.hpp"
#include "gated_backend.hpp"
#include "kernel_rig.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace fathom::aio {
namespace {

constexpr unsigned long shut_down_request = _IOR('X', 125, std::uint32_t);  // ext4 and XFS

bool names(const Error& error, const std::string& text) {
  return error.message().find(text) != std::string::npos;
}

class KernelFaults : public testing::TestWithParam<Engine> {
 protected:
  void SetUp() override {
    if (auto backend = make_backend(GetParam(), 1); !backend)
      GTEST_SKIP() << backend.error().message();
  }
  static std::unique_ptr<Queue> open(Engine engine, std::uint64_t block = 64 * KiB) {
    auto backend = make_backend(engine, 8);
    if (!backend) return nullptr;
    return Queue::over(std::move(*backend), {.block_size = block, .queue_depth = 8});
  }
  ScratchDirectory directory_;
};

TEST_P(KernelFaults, ReadsBehindTheCutOfADiskFailByNameAndThoseBeforeItSucceed) {
  LoopExt4 disk(directory_.path(), 48 * MiB);
  if (!disk.why().empty()) GTEST_SKIP() << disk.why();
  const std::string path = disk.path() + "/tensor";
  auto file = File::create(path, 8 * MiB);
  ASSERT_TRUE(file) << file.error().message();
  auto queue = open(GetParam());
  Block out(8 * MiB), in(64 * KiB);
  out.fill(1);
  ASSERT_TRUE(write_now(*queue, *file, 0, out));

  // The extent that lies furthest back on the disk is cut in the middle.
  std::array<char, sizeof(fiemap) + 64 * sizeof(fiemap_extent)> memory{};
  auto* map = reinterpret_cast<fiemap*>(memory.data());
  map->fm_length = FIEMAP_MAX_OFFSET;
  map->fm_flags = FIEMAP_FLAG_SYNC;
  map->fm_extent_count = 64;
  ASSERT_EQ(::ioctl(file->fd(), FS_IOC_FIEMAP, map), 0);
  ASSERT_GT(map->fm_mapped_extents, 0U);
  const fiemap_extent last =
      *std::max_element(map->fm_extents, map->fm_extents + map->fm_mapped_extents,
                        [](const auto& a, const auto& b) { return a.fe_physical < b.fe_physical; });
  const std::uint64_t keep = round_down(last.fe_length / 2, 64 * KiB);
  ASSERT_GE(keep, 64 * KiB);
  ASSERT_TRUE(disk.cut(last.fe_physical + keep));

  const std::uint64_t before = last.fe_logical, behind = last.fe_logical + keep;
  const auto lost = read_now(*queue, *file, behind, in);
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code(), Errc::io);
  EXPECT_EQ(lost.error().errno_value(), EIO);
  EXPECT_TRUE(names(lost.error(), path + " at " + std::to_string(behind)))
      << lost.error().message();
  EXPECT_EQ(queue->counters().retries, 1U) << "a read is tried once more";
  const auto kept = read_now(*queue, *file, before, in);
  ASSERT_TRUE(kept) << kept.error().message();
  EXPECT_TRUE(std::equal(in.data(), in.data() + in.size(), out.data() + before));
}

TEST_P(KernelFaults, AFileSystemThatFillsUpFailsTheWritesThatDoNotFitAndNoOthers) {
  LoopExt4 disk(directory_.path(), 16 * MiB);
  if (!disk.why().empty()) GTEST_SKIP() << disk.why();
  auto file = File::create(disk.path() + "/tensors", 0);  // grows by writing
  ASSERT_TRUE(file) << file.error().message();
  auto queue = open(GetParam());
  constexpr unsigned count = 64;
  std::vector<Block> blocks;
  std::vector<std::future<Result<void>>> pending;
  for (unsigned i = 0; i < count; ++i) blocks.emplace_back(512 * KiB).fill(i + 1);
  for (unsigned i = 0; i < count; ++i)
    pending.push_back(start(*queue, request_of(Direction::write, *file, i * 512 * KiB, blocks[i])));
  std::vector<unsigned> written;
  for (unsigned i = 0; i < count; ++i) {
    const auto done = pending[i].get();
    if (done) {
      written.push_back(i);
    } else {
      EXPECT_EQ(done.error().code(), Errc::no_space) << done.error().message();
      EXPECT_TRUE(names(done.error(), file->path())) << done.error().message();
    }
  }
  EXPECT_GT(written.size(), 0U);
  EXPECT_LT(written.size(), count);
  Block in(512 * KiB);
  for (const unsigned i : written) {
    const auto read = read_now(*queue, *file, i * 512 * KiB, in);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(in, blocks[i]) << i;
  }
}

TEST_P(KernelFaults, ATensorLargerThanTheFileSystemIsRefusedAndKeepsNoSpace) {
  LoopExt4 disk(directory_.path(), 16 * MiB);
  if (!disk.why().empty()) GTEST_SKIP() << disk.why();
  auto file = File::create(disk.path() + "/tensor", 0);
  ASSERT_TRUE(file);
  auto queue = open(GetParam());
  Block out(32 * MiB);
  out.fill(1);
  const auto done = write_now(*queue, *file, 0, out);
  ASSERT_FALSE(done) << "most of its pieces were written";
  EXPECT_EQ(done.error().code(), Errc::no_space);
  queue.reset();
  *file = File();
  ASSERT_EQ(::unlink((disk.path() + "/tensor").c_str()), 0);
  const auto again = File::create_scratch(disk.path(), 32 * MiB);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), Errc::no_space);
  EXPECT_TRUE(names(again.error(), "need 32.00 MiB, have ")) << again.error().message();
  EXPECT_TRUE(File::create_scratch(disk.path(), 8 * MiB)) << "nothing stays taken";
}

TEST_P(KernelFaults, AFileSystemThatIsShutDownFailsReadsAndWritesAndNothingHangs) {
  LoopExt4 disk(directory_.path(), 32 * MiB);
  if (!disk.why().empty()) GTEST_SKIP() << disk.why();
  auto file = File::create_scratch(disk.path(), 4 * MiB);
  ASSERT_TRUE(file) << file.error().message();
  auto queue = open(GetParam());
  Block block(1 * MiB);
  ASSERT_TRUE(write_now(*queue, *file, 0, block));
  {
    const UniqueFd root(::open(disk.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    std::uint32_t without_flushing = 2;
    if (::ioctl(root.get(), shut_down_request, &without_flushing) != 0)
      GTEST_SKIP() << "the kernel cannot shut this file system down: " << std::strerror(errno);
  }
  std::vector<std::future<Result<void>>> pending;
  for (unsigned i = 0; i < 4; ++i)
    pending.push_back(start(*queue, request_of(i % 2 == 0 ? Direction::read : Direction::write,
                                               *file, i * MiB, block)));
  for (auto& one : pending) {
    const auto done = one.get();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), Errc::io);
    EXPECT_EQ(done.error().errno_value(), EIO) << done.error().message();
    EXPECT_TRUE(names(done.error(), disk.path())) << done.error().message();
  }
}

TEST_P(KernelFaults, ShortAnswersAreContinuedUntilEveryByteIsThere) {
  FuseFile fuse(directory_.path(), 1 * MiB, [](std::uint64_t, std::uint32_t bytes) {
    const auto half = static_cast<std::int64_t>(round_down(bytes / 2, io_alignment));
    return half > 0 ? half : std::int64_t{bytes};
  });
  if (!fuse.why().empty()) GTEST_SKIP() << fuse.why();
  auto file = File::open_read(fuse.path());
  ASSERT_TRUE(file) << file.error().message();
  auto queue = open(GetParam());
  Block in(1 * MiB);
  const auto read = read_now(*queue, *file, 0, in);
  ASSERT_TRUE(read) << read.error().message();
  for (std::uint64_t i = 0; i < in.size(); ++i) ASSERT_EQ(in.data()[i], FuseFile::byte_at(i)) << i;
  EXPECT_GT(queue->counters().retries, 0U);
  EXPECT_GT(fuse.reads(), 1U);
}

TEST_P(KernelFaults, AnErrorOfOneAnswerFailsTheRequestThatItIsAboutAlone) {
  FuseFile fuse(directory_.path(), 1 * MiB, [](std::uint64_t offset, std::uint32_t bytes) {
    const bool bad = offset <= 600 * KiB && 600 * KiB < offset + bytes;
    return bad ? -std::int64_t{EIO} : std::int64_t{bytes};
  });
  if (!fuse.why().empty()) GTEST_SKIP() << fuse.why();
  auto file = File::open_read(fuse.path());
  ASSERT_TRUE(file) << file.error().message();
  auto queue = open(GetParam());
  for (std::uint64_t at = 0; at < 1 * MiB; at += 256 * KiB) {
    Block in(256 * KiB);
    const auto read = read_now(*queue, *file, at, in);
    if (at == 512 * KiB) {
      ASSERT_FALSE(read);
      EXPECT_EQ(read.error().errno_value(), EIO);
      EXPECT_TRUE(names(read.error(), fuse.path())) << read.error().message();
    } else {
      ASSERT_TRUE(read) << read.error().message();
      EXPECT_EQ(in.data()[4097], FuseFile::byte_at(at + 4097));
    }
  }
}

TEST_P(KernelFaults, AWriteAcrossTheFileSizeLimitIsContinuedAndThenFailsByTheLimit) {
  const std::string said = in_child([&]() -> std::string {
    auto file = File::create(directory_.path() + "/limited", 0);
    if (!file) return file.error().message();
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4 * MiB, 4 * MiB};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no limit";
    auto queue = open(GetParam(), 2 * MiB);
    Block out(2 * MiB);
    if (const auto inside = write_now(*queue, *file, 1 * MiB, out); !inside)
      return "inside the limit: " + inside.error().message();
    const auto across = write_now(*queue, *file, 3 * MiB, out);
    if (across) return "a write across the limit succeeded";
    if (across.error().errno_value() != EFBIG || !names(across.error(), "got 1048576"))
      return across.error().message();
    return names(across.error(), "ulimit -f") ? "as expected" : across.error().message();
  });
  EXPECT_EQ(said, "as expected");
}

INSTANTIATE_TEST_SUITE_P(Engines, KernelFaults,
                         testing::Values(Engine::posix, Engine::io_uring, Engine::libaio),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

class KernelLimits : public testing::Test {
 protected:
  ScratchDirectory directory_;
};

TEST_F(KernelLimits, WithoutLockedMemoryBuffersStayUnregisteredAndTransfersGoOn) {
  if (::geteuid() != 0) GTEST_SKIP() << "dropping CAP_IPC_LOCK needs it first";
  if (!make_backend(Engine::io_uring, 1)) GTEST_SKIP() << "io_uring does not work here";
  const std::string said = in_child([&]() -> std::string {
    const rlimit little{64 * KiB, 64 * KiB};
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> sets{};
    if (::setrlimit(RLIMIT_MEMLOCK, &little) != 0 ||
        ::syscall(SYS_capget, &header, sets.data()) != 0)
      return "no limit";
    for (auto* set : {&sets[0].effective, &sets[0].permitted}) *set &= ~(1U << CAP_IPC_LOCK);
    if (::syscall(SYS_capset, &header, sets.data()) != 0) return "the capability stays";
    auto backend = make_backend(Engine::io_uring, 8);
    if (!backend) return backend.error().message();
    auto queue = Queue::over(std::move(*backend), {.block_size = 64 * KiB, .queue_depth = 8});
    auto arena = Arena::allocate(8 * MiB);
    auto file = File::create_scratch(directory_.path(), 1 * MiB);
    if (!arena || !file) return "no arena or file";
    queue->attach(*arena);
    const std::string description = queue->describe();
    std::memset(arena->at(0), 7, 1 * MiB);
    for (const Direction direction : {Direction::write, Direction::read}) {
      const auto done =
          start(*queue, {.direction = direction,
                         .file = &*file,
                         .buffer = arena->at(direction == Direction::read ? 4 * MiB : 0),
                         .bytes = 1 * MiB})
              .get();
      if (!done) return done.error().message();
    }
    if (std::memcmp(arena->at(0), arena->at(4 * MiB), 1 * MiB) != 0) return "other bytes";
    return description;
  });
  EXPECT_EQ(said.find("registered buffers"), std::string::npos) << said;
  EXPECT_NE(said.find("ulimit -l"), std::string::npos) << said;
}

TEST_F(KernelLimits, IoUringThatIsForRootAloneIsNamedWithItsSysctl) {
  const char* sysctl = "/proc/sys/kernel/io_uring_disabled";
  int before = -1;
  std::ifstream(sysctl) >> before;
  if (::geteuid() != 0) GTEST_SKIP() << "setting the sysctl needs root";
  if (before != 0) GTEST_SKIP() << "kernel.io_uring_disabled is " << before << " here";
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0777), 0);
  // 1 changes nothing for root: other tests go on.
  std::ofstream(sysctl) << 1 << std::flush;
  const std::string said = in_child([&]() -> std::string {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return "root stays root";
    const EngineProbe probe = probe_engine(Engine::io_uring, directory_.path());
    auto queue = Queue::open(directory_.path(), {});
    if (!queue) return queue.error().message();
    if ((*queue)->engine_notes().find(probe.reason) == std::string::npos)
      return "the queue says something else: " + (*queue)->engine_notes();
    return std::string(probe.works ? "works" : probe.reason) + " -> " +
           to_string((*queue)->engine());
  });
  std::ofstream(sysctl) << before << std::flush;
  EXPECT_NE(said.find("kernel.io_uring_disabled is 1"), std::string::npos) << said;
  EXPECT_NE(said.find("-> libaio"), std::string::npos) << said;
}

TEST_F(KernelLimits, MoreOperationsThanAioMaxNrAreRefusedWithTheSysctlsValue) {
  long most = 0;
  std::ifstream("/proc/sys/fs/aio-max-nr") >> most;
  if (most <= 0 || most >= 1 << 20) GTEST_SKIP() << "fs.aio-max-nr is " << most << " here";
  const auto backend = make_backend(Engine::libaio, static_cast<unsigned>(most) + 1);
  ASSERT_FALSE(backend);
  EXPECT_EQ(backend.error().code(), Errc::unsupported);
  EXPECT_TRUE(names(backend.error(), "fs.aio-max-nr is " + std::to_string(most)))
      << backend.error().message();
}

TEST_F(KernelLimits, LibaioGoesOnBehindAnOperationThatCannotStart) {
  auto backend = make_backend(Engine::libaio, 8);
  if (!backend) GTEST_SKIP() << backend.error().message();
  auto file = File::create_scratch(directory_.path(), 64 * KiB);
  ASSERT_TRUE(file);
  Block block(64 * KiB);
  const auto operation = [&](std::uint64_t id, int fd) {
    return Operation{.id = id,
                     .direction = Direction::write,
                     .fd = fd,
                     .buffer = block.data() + id * 4096,
                     .offset = id * 4096,
                     .bytes = 4096};
  };
  // The kernel takes one, stops at the bad descriptor, and has to be asked again for the third.
  ASSERT_TRUE((*backend)->prepare(operation(1, file->fd())));
  ASSERT_TRUE((*backend)->prepare(operation(2, -1)));
  ASSERT_TRUE((*backend)->prepare(operation(3, file->fd())));
  EXPECT_EQ((*backend)->submit(), 0);
  std::array<std::int64_t, 4> results{};
  for (int left = 3; left > 0;) {
    std::array<Completed, 4> done;
    const int count = (*backend)->reap(done, -1);
    for (int i = 0; i < count; ++i)
      results[done[static_cast<std::size_t>(i)].id] = done[static_cast<std::size_t>(i)].result;
    left -= std::max(count, 0);
  }
  EXPECT_EQ(results[1], 4096);
  EXPECT_EQ(results[2], -EBADF);
  EXPECT_EQ(results[3], 4096);
}

TEST(CompletionRulesDeathTest, C25ACompletionThatNothingWaitsForEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        const ScratchDirectory directory;
        auto file = File::create_scratch(directory.path(), 64 * KiB);
        Gate gate;
        auto queue = Queue::over(std::make_unique<GatedBackend>(gate, 4),
                                 {.block_size = 4096, .queue_depth = 1});
        Block block(4096);
        auto done = start(*queue, request_of(Direction::read, *file, 0, block));
        gate.await(1);
        {
          const std::lock_guard lock(gate.mutex);
          gate.answers.push_back({gate.waiting.at(0).id + 1, 4096});
          gate.changed.notify_all();
        }
        done.wait();
      },
      "a completion arrived that nothing waits for");
}

}  // namespace
}  // namespace fathom::aio
