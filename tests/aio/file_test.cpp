// SPDX-License-Identifier: Apache-2.0
#include "aio/file.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "aio/file_system.hpp"
#include "base/units.hpp"
#include "scratch_directory.hpp"

namespace fathom::aio {
namespace {

bool has(const Error& error, const std::string& text) {
  return error.message().find(text) != std::string::npos;
}

class FileTest : public testing::Test {
 protected:
  bool empty() const { return std::filesystem::is_empty(directory_.path()); }
  ScratchDirectory directory_;
};

TEST_F(FileTest, AScratchFileIsAllocatedAndHasNoName) {
  auto file = File::create_scratch(directory_.path(), 4 * MiB);
  ASSERT_TRUE(file) << file.error().message();
  struct stat info{};
  ASSERT_EQ(::fstat(file->fd(), &info), 0);
  EXPECT_EQ(info.st_nlink, 0U);
  EXPECT_EQ(info.st_size, static_cast<off_t>(4 * MiB));
  EXPECT_GE(static_cast<std::uint64_t>(info.st_blocks) * 512, 4 * MiB);
  EXPECT_EQ(file->size(), 4 * MiB);
  EXPECT_EQ(file->path(), directory_.path() + " (scratch)");
  EXPECT_TRUE(empty());
}

TEST_F(FileTest, DirectSaysWhatTheDescriptorIs) {
  auto file = File::create_scratch(directory_.path(), 1 * MiB);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->direct(), (::fcntl(file->fd(), F_GETFL) & O_DIRECT) != 0);
}

TEST_F(FileTest, AMissingDirectoryIsNamed) {
  const auto file = File::create_scratch(directory_.path() + "/absent", 4096);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code(), Errc::not_found);
  EXPECT_TRUE(has(file.error(), directory_.path() + "/absent")) << file.error().message();
}

TEST_F(FileTest, AFileInPlaceOfADirectoryIsNamed) {
  const std::string path = directory_.path() + "/plain";
  std::ofstream(path) << "x";
  const auto file = File::create_scratch(path, 4096);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code(), Errc::bad_config);
  EXPECT_TRUE(has(file.error(), "not a directory")) << file.error().message();
  EXPECT_TRUE(has(file.error(), path));
}

TEST_F(FileTest, MoreThanTheFileSystemHasIsRefusedWithTheArithmetic) {
  struct statvfs info{};
  ASSERT_EQ(::statvfs(directory_.path().c_str(), &info), 0);
  const std::uint64_t wanted = std::uint64_t{info.f_bavail} * info.f_frsize + 1 * GiB;
  const auto file = File::create_scratch(directory_.path(), wanted);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code(), Errc::no_space);
  EXPECT_TRUE(has(file.error(), "need ")) << file.error().message();
  EXPECT_TRUE(has(file.error(), "have "));
  EXPECT_TRUE(has(file.error(), "on " + directory_.path()));
}

TEST_F(FileTest, ANamedFileIsPrivateAndNeverReplaced) {
  const std::string path = directory_.path() + "/store";
  auto file = File::create(path, 1 * MiB);
  ASSERT_TRUE(file) << file.error().message();
  struct stat info{};
  ASSERT_EQ(::fstat(file->fd(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
  EXPECT_EQ(info.st_size, static_cast<off_t>(1 * MiB));
  const auto again = File::create(path, 1 * MiB);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().errno_value(), EEXIST);
  EXPECT_EQ(std::filesystem::file_size(path), 1 * MiB);
}

TEST_F(FileTest, APlantedLinkIsNotFollowed) {
  const std::string victim = directory_.path() + "/victim";
  const std::string link = directory_.path() + "/link";
  std::filesystem::create_symlink(victim, link);
  EXPECT_FALSE(File::create(link, 4096));
  EXPECT_FALSE(std::filesystem::exists(victim));
}

TEST_F(FileTest, AFailedCreationLeavesNoNameBehind) {
  const auto file = File::create(directory_.path() + "/huge", std::uint64_t{1} << 60);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code(), Errc::no_space);
  EXPECT_TRUE(empty());
}

TEST_F(FileTest, OpenReadRefusesWhatIsNotARegularFile) {
  const auto directory = File::open_read(directory_.path());
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().code(), Errc::bad_input);
  const std::string fifo = directory_.path() + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const auto pipe = File::open_read(fifo);
  ASSERT_FALSE(pipe);
  EXPECT_EQ(pipe.error().code(), Errc::bad_input);
  const auto absent = File::open_read(directory_.path() + "/absent");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code(), Errc::not_found);
}

TEST_F(FileTest, OpenReadKnowsTheSizeWhateverItIs) {
  const std::string path = directory_.path() + "/odd";
  std::ofstream(path) << std::string(12345, 'x');
  auto file = File::open_read(path);
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_EQ(file->size(), 12345U);
}

TEST_F(FileTest, AFileSystemInMemoryGivesABufferedFileAndSaysSoOnce) {
  if (!std::filesystem::exists("/dev/shm")) GTEST_SKIP() << "no /dev/shm here";
  struct statfs kind{};
  ASSERT_EQ(::statfs("/dev/shm", &kind), 0);
  if (!file_system_from_magic(static_cast<unsigned long>(kind.f_type)).in_memory)
    GTEST_SKIP() << "/dev/shm is not in memory";
  ScratchDirectory shared("/dev/shm");
  testing::internal::CaptureStderr();
  auto first = File::create_scratch(shared.path(), 64 * KiB);
  auto second = File::create_scratch(shared.path(), 64 * KiB);
  const std::string said = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(first);
  ASSERT_TRUE(second);
  EXPECT_FALSE(first->direct());
  EXPECT_NE(said.find("tmpfs"), std::string::npos) << said;
  EXPECT_EQ(said.find("warning"), said.rfind("warning")) << said;
}

// A small file system of its own, where this process may mount one.
class MountedTmpfs {
 public:
  MountedTmpfs(const std::string& at, unsigned long flags, const char* options) : at_(at) {
    mounted_ = ::mount("tmpfs", at.c_str(), "tmpfs", flags, options) == 0;
    error_ = errno;
  }
  ~MountedTmpfs() {
    if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  explicit operator bool() const { return mounted_; }
  std::string why() const { return std::string("cannot mount: ") + std::strerror(error_); }

 private:
  std::string at_;
  bool mounted_ = false;
  int error_ = 0;
};

TEST_F(FileTest, AFullFileSystemIsRefusedAndKeepsItsSpace) {
  MountedTmpfs small(directory_.path(), 0, "size=1m");
  if (!small) GTEST_SKIP() << small.why();
  auto first = File::create_scratch(directory_.path(), 512 * KiB);
  ASSERT_TRUE(first) << first.error().message();
  const auto second = File::create_scratch(directory_.path(), 768 * KiB);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Errc::no_space);
  EXPECT_TRUE(has(second.error(), "need 768.00 KiB, have 512.00 KiB")) << second.error().message();
  EXPECT_TRUE(File::create_scratch(directory_.path(), 512 * KiB)) << "nothing stays taken";
}

TEST_F(FileTest, AReadOnlyFileSystemIsNamed) {
  MountedTmpfs small(directory_.path(), MS_RDONLY, "size=1m");
  if (!small) GTEST_SKIP() << small.why();
  const auto file = File::create_scratch(directory_.path(), 4096);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().errno_value(), EROFS) << file.error().message();
  EXPECT_TRUE(has(file.error(), directory_.path()));
}

TEST_F(FileTest, ADirectoryWithoutWritePermissionIsNamed) {
  if (::geteuid() == 0) GTEST_SKIP() << "permissions do not stop root";
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0500), 0);
  const auto file = File::create_scratch(directory_.path(), 4096);
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0700), 0);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().errno_value(), EACCES);
}

}  // namespace
}  // namespace fathom::aio
