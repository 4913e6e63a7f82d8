// SPDX-License-Identifier: Apache-2.0
#include "scratch.hpp"

#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "process.hpp"

namespace fathom::tools {
namespace {

namespace fs = std::filesystem;

class Root : public testing::Environment {
 public:
  void SetUp() override {
    const char* base = std::getenv("TMPDIR");
    std::string name = std::string(base != nullptr ? base : "/tmp") + "/fathom-tools-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
    fs::permissions(path_, fs::perms(0755));  // a test becomes another user
    // What the program measures and remembers, and LibTorch's threads, which spin when idle.
    ::setenv("XDG_CACHE_HOME", (path_ + "/cache").c_str(), 1);
    ::setenv("OMP_NUM_THREADS", "1", 0);
  }
  void TearDown() override {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};
Root* const root = new Root;
[[maybe_unused]] const auto* const registered = testing::AddGlobalTestEnvironment(root);

bool may_mount() {
  static const bool may = ::geteuid() == 0 && ::unshare(CLONE_NEWNS) == 0 &&
                          ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  return may;
}

}  // namespace

std::string new_scratch_name(const std::string& stem) {
  static int count = 0;
  return root->path() + "/" + stem + "-" + std::to_string(++count);
}

std::string new_scratch_directory(const std::string& stem) {
  std::string path = new_scratch_name(stem);
  fs::create_directory(path);
  return path;
}

std::unique_ptr<Mount> Mount::tmpfs(const std::string& options) {
  if (!may_mount()) return nullptr;
  const std::string path = new_scratch_directory("tmpfs");
  if (::mount("none", path.c_str(), "tmpfs", 0, options.c_str()) != 0) return nullptr;
  return std::unique_ptr<Mount>(new Mount(path));
}

std::unique_ptr<Mount> Mount::ext4(std::uint64_t bytes) {
  if (!may_mount()) return nullptr;
  const std::string image = new_scratch_name("image"), path = new_scratch_directory("ext4");
  const int fd = ::open(image.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const bool sized = ::ftruncate(fd, static_cast<off_t>(bytes)) == 0;
  ::close(fd);
  const auto shell = [](const std::string& line) {
    return run({"/bin/sh", "-c", "PATH=$PATH:/usr/sbin:/sbin " + line}).code == 0;
  };
  if (!sized || !shell("mkfs.ext4 -q -F " + image) ||
      !shell("mount -o loop " + image + " " + path)) {
    ::unlink(image.c_str());
    return nullptr;
  }
  auto mount = std::unique_ptr<Mount>(new Mount(path));
  mount->image_ = image;
  return mount;
}

Mount::~Mount() {
  ::umount2(path_.c_str(), MNT_DETACH);
  if (!image_.empty()) ::unlink(image_.c_str());
}

void Mount::make_read_only() {
  ::mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr);
}

void Mount::resize(const std::string& options) {
  ::mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT, options.c_str());
}

void Mount::shut_down() {
  constexpr unsigned long ext4_shutdown = _IOR('X', 125, std::uint32_t);
  std::uint32_t no_log_flush = 2;
  const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(::ioctl(fd, ext4_shutdown, &no_log_flush), 0);
  ::close(fd);
}

}  // namespace fathom::tools
