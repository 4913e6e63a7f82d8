// SPDX-License-Identifier: Apache-2.0
//
// Rigs that make the kernel itself fail: a small ext4 on a loop device, and a child process with
// other limits or privileges. They need root; where they can't be had, why() says so.
//
//   LoopExt4 disk(directory.path(), 64 * MiB);
//   if (!disk.why().empty()) GTEST_SKIP() << disk.why();
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace fathom::aio {

// An ext4 file system of `bytes` in an image file, mounted through a loop device.
class LoopExt4 {
 public:
  LoopExt4(const std::string& directory, std::uint64_t bytes)
      : image_(directory + "/image"), at_(directory + "/mounted") {
    why_ = make(bytes);
  }
  ~LoopExt4() {
    if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  LoopExt4(const LoopExt4&) = delete;
  LoopExt4& operator=(const LoopExt4&) = delete;

  const std::string& why() const { return why_; }  // empty when it is there
  const std::string& path() const { return at_; }  // where it is mounted
  // Cuts the image: what the file system has beyond `bytes` can't be read any more.
  bool cut(std::uint64_t bytes) {
    return ::ftruncate(backing_.get(), static_cast<off_t>(bytes)) == 0;
  }

 private:
  static std::string cannot(const std::string& what) {
    return "cannot " + what + ": " + std::strerror(errno);
  }

  std::string make(std::uint64_t bytes) {
    if (::geteuid() != 0) return "mounting needs root";
    backing_ = UniqueFd(::open(image_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!backing_ || ::ftruncate(backing_.get(), static_cast<off_t>(bytes)) != 0 ||
        ::mkdir(at_.c_str(), 0700) != 0)
      return cannot("make an image");
    const std::string command =
        "mkfs.ext4 -q -F -m 0 -O ^has_journal '" + image_ + "' >/dev/null 2>&1";
    if (std::system(command.c_str()) != 0) return "mkfs.ext4 is not here or failed";
    const UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (!control) return cannot("open /dev/loop-control");
    // Others may take the free number first: then the next one is asked for.
    for (int tries = 0; tries < 16; ++tries) {
      const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
      if (number < 0) return cannot("find a free loop device");
      const std::string name = "/dev/loop" + std::to_string(number);
      loop_ = UniqueFd(::open(name.c_str(), O_RDWR | O_CLOEXEC));
      if (!loop_) return cannot("open " + name);
      loop_config config{};
      config.fd = static_cast<__u32>(backing_.get());
      config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
      if (::ioctl(loop_.get(), LOOP_CONFIGURE, &config) == 0) {
        if (::mount(name.c_str(), at_.c_str(), "ext4", 0, "errors=continue") != 0)
          return cannot("mount " + name);
        mounted_ = true;
        return {};
      }
      if (errno != EBUSY) return cannot("configure " + name);
    }
    return "no loop device stays free";
  }

  std::string image_, at_, why_;
  UniqueFd backing_, loop_;
  bool mounted_ = false;
};

// What `body` returned in a child process, whose limits and privileges it may change. A child that
// dies otherwise says how.
inline std::string in_child(const std::function<std::string()>& body) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return "no pipe";
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return "no child";
  if (child == 0) {
    const std::string text = body();
    const bool whole =
        ::write(to.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::_exit(whole ? 0 : 1);
  }
  to.reset();
  std::string text(4096, '\0');
  std::size_t size = 0;
  for (ssize_t got = 1; got > 0 && size < text.size(); size += got > 0 ? std::size_t(got) : 0)
    got = ::read(from.get(), text.data() + size, text.size() - size);
  text.resize(size);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return text;
  return text + " (the child ended with status " + std::to_string(status) + ")";
}

}  // namespace fathom::aio
