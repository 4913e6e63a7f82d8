// SPDX-License-Identifier: Apache-2.0
//
// FileCalls: the system calls that make a store durable, in one place.
//
// Purpose      Names, space, locks, syncs and the journal's reads and writes go through here; the
//              data itself goes through aio::Queue. Tests put a failing device in this seam, so
//              that every one of these calls fails once in some test.
// Errors       -1 and errno, as the calls themselves; interrupted calls are repeated.
// Threads      Stateless.
//
//   FileCalls& calls = FileCalls::real();
//   UniqueFd file = calls.open_beneath(directory, "journal", O_RDWR | O_CLOEXEC, 0);
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <sys/types.h>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace fathom::swap {

class FileCalls {
 public:
  virtual ~FileCalls() = default;
  static FileCalls& real();

  // openat2 that stays below `directory` and follows no link of any kind.
  virtual UniqueFd open_beneath(int directory, const char* name, int flags, mode_t mode);
  virtual int make_directory(int parent, const char* name);             // mode 0700
  virtual int rename(int directory, const char* from, const char* to);  // replaces `to`
  virtual int remove(int directory, const char* name, bool is_directory);
  virtual Result<void> reserve(int fd, const std::string& where, std::uint64_t bytes);
  // All of it, or -1; a file that ends before is EIO.
  virtual int read_at(int fd, std::span<std::byte> out, std::uint64_t offset);
  virtual int write_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset);
  virtual int sync_data(int fd);            // fdatasync
  virtual int sync_directory(int fd);       // fsync, for names
  virtual int lock(int fd, int operation);  // flock, never waiting
};

}  // namespace fathom::swap
