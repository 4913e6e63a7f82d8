// SPDX-License-Identifier: Apache-2.0
#include "aio/arena.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aio/memory_limits.hpp"
#include "base/units.hpp"
#include "scratch_directory.hpp"

namespace fathom::aio {
namespace {

TEST(Arena, IsAlignedRoundedUpAndZero) {
  auto arena = Arena::allocate(3 * MiB);
  ASSERT_TRUE(arena) << arena.error().message();
  EXPECT_EQ(arena->size(), 4 * MiB);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena->at(0)) % (2 * MiB), 0U);
  EXPECT_TRUE(
      std::ranges::all_of(arena->bytes(), [](std::byte value) { return value == std::byte{0}; }));
}

TEST(Arena, KnowsWhatLiesInIt) {
  auto arena = Arena::allocate(2 * MiB);
  ASSERT_TRUE(arena);
  EXPECT_TRUE(arena->contains(arena->at(0)));
  EXPECT_TRUE(arena->contains(arena->at(2 * MiB - 1)));
  EXPECT_FALSE(arena->contains(arena->at(0) - 1));
  EXPECT_FALSE(arena->contains(arena->at(0) + 2 * MiB));
  EXPECT_FALSE(Arena().contains(nullptr));
}

TEST(Arena, OfZeroBytesIsEmpty) {
  auto arena = Arena::allocate(0);
  ASSERT_TRUE(arena);
  EXPECT_EQ(arena->size(), 0U);
  EXPECT_TRUE(arena->bytes().empty());
}

TEST(Arena, MovesWithItsMemory) {
  auto arena = Arena::allocate(2 * MiB);
  ASSERT_TRUE(arena);
  std::byte* address = arena->at(0);
  *address = std::byte{42};
  Arena other = std::move(*arena);
  EXPECT_EQ(other.at(0), address);
  EXPECT_EQ(*other.at(0), std::byte{42});
  EXPECT_EQ(arena->size(), 0U);
  auto second = Arena::allocate(2 * MiB);
  ASSERT_TRUE(second);
  other = std::move(*second);
  EXPECT_NE(other.at(0), nullptr);
}

TEST(Arena, IsNotInheritedByFork) {
  auto arena = Arena::allocate(2 * MiB);
  ASSERT_TRUE(arena);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // write() answers EFAULT for memory that is not there, without a signal.
    int pipes[2];
    const bool made = ::pipe(pipes) == 0;
    const bool readable = made && ::write(pipes[1], arena->at(0), 1) == 1;
    ::_exit(!made ? 2 : readable ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Arena, LargerThanMemoryIsRefusedWithTheArithmetic) {
  const std::uint64_t wanted = memory_limit().available + 1 * GiB;
  const auto arena = Arena::allocate(wanted);
  ASSERT_FALSE(arena);
  EXPECT_EQ(arena.error().code(), Errc::no_space);
  const std::string text = arena.error().message();
  EXPECT_NE(text.find("need "), std::string::npos) << text;
  EXPECT_NE(text.find("may take "), std::string::npos) << text;
}

TEST(Arena, SaysWhichPagesItHas) {
  auto arena = Arena::allocate(8 * MiB);
  ASSERT_TRUE(arena);
  std::ifstream setting("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string text;
  std::getline(setting, text);
  if (text.empty() || text.find("[never]") != std::string::npos)
    GTEST_SKIP() << "transparent huge pages are off: " << text;
  EXPECT_NE(arena->page_kind(), PageKind::small);
}

class MemoryTree : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& text) {
    const std::filesystem::path whole = root_.path() + path;
    std::filesystem::create_directories(whole.parent_path());
    std::ofstream(whole) << text;
  }
  ScratchDirectory root_;
};

TEST_F(MemoryTree, WithoutGroupsMemAvailableIsTheLimit) {
  put("/proc/meminfo", "MemTotal:  2000 kB\nMemAvailable:   1000 kB\n");
  EXPECT_EQ(memory_limit(root_.path()).available, 1000 * KiB);
}

TEST_F(MemoryTree, TheTightestGroupAboveTheProcessIsTheLimit) {
  put("/proc/meminfo", "MemAvailable: 1000000 kB\n");
  put("/proc/self/cgroup", "0::/outer/inner\n");
  put("/sys/fs/cgroup/outer/inner/memory.max", "max\n");
  put("/sys/fs/cgroup/outer/inner/memory.current", "4096\n");
  put("/sys/fs/cgroup/outer/memory.max", "104857600\n");
  put("/sys/fs/cgroup/outer/memory.current", "62914560\n");
  put("/sys/fs/cgroup/outer/memory.stat", "anon 1\ninactive_file 10485760\nactive_file 10485760\n");
  const MemoryLimit limit = memory_limit(root_.path());
  EXPECT_EQ(limit.available, 60 * MiB) << limit.reason;
  EXPECT_NE(limit.reason.find("memory.max"), std::string::npos);
}

TEST_F(MemoryTree, VersionOneGroupsCountToo) {
  put("/proc/meminfo", "MemAvailable: 1000000 kB\n");
  put("/proc/self/cgroup", "5:memory:/job\n2:cpu:/\n");
  put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "8388608\n");
  put("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1048576\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n");
  EXPECT_EQ(memory_limit(root_.path()).available, 7 * MiB);
}

TEST_F(MemoryTree, AGroupThatIsFullLeavesNothing) {
  put("/proc/meminfo", "MemAvailable: 1000000 kB\n");
  put("/proc/self/cgroup", "0::/\n");
  put("/sys/fs/cgroup/memory.max", "1000\n");
  put("/sys/fs/cgroup/memory.current", "2000\n");
  EXPECT_EQ(memory_limit(root_.path()).available, 0U);
}

}  // namespace
}  // namespace fathom::aio
