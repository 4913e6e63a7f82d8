// SPDX-License-Identifier: Apache-2.0
#include "swap/file_calls.hpp"

#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aio/space.hpp"

namespace fathom::swap {
namespace {

template <class Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

}  // namespace

FileCalls& FileCalls::real() {
  static FileCalls calls;
  return calls;
}

UniqueFd FileCalls::open_beneath(int directory, const char* name, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW);
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(
      uninterrupted([&] { return ::syscall(SYS_openat2, directory, name, &how, sizeof how); })));
}

int FileCalls::make_directory(int parent, const char* name) {
  return ::mkdirat(parent, name, 0700);
}

int FileCalls::rename(int directory, const char* from, const char* to) {
  return ::renameat(directory, from, directory, to);
}

int FileCalls::remove(int directory, const char* name, bool is_directory) {
  return ::unlinkat(directory, name, is_directory ? AT_REMOVEDIR : 0);
}

Result<void> FileCalls::reserve(int fd, const std::string& where, std::uint64_t bytes) {
  return aio::reserve_space(fd, where, bytes);
}

int FileCalls::read_at(int fd, std::span<std::byte> out, std::uint64_t offset) {
  while (!out.empty()) {
    const ssize_t got = uninterrupted(
        [&] { return ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset)); });
    if (got == 0) errno = EIO;
    if (got <= 0) return -1;
    out = out.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return 0;
}

int FileCalls::write_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t put = uninterrupted(
        [&] { return ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (put == 0) errno = EIO;
    if (put <= 0) return -1;
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return 0;
}

// Not repeated when it fails: the kernel drops what it could not write and the next call succeeds.
int FileCalls::sync_data(int fd) { return ::fdatasync(fd); }

int FileCalls::sync_directory(int fd) { return ::fsync(fd); }

int FileCalls::lock(int fd, int operation) {
  return uninterrupted([&] { return ::flock(fd, operation | LOCK_NB); });
}

}  // namespace fathom::swap
