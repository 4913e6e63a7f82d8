// SPDX-License-Identifier: Apache-2.0
//
// File: an open file whose space is promised, with O_DIRECT where the file system has it.
//
// Purpose      One descriptor per (rank, path). Scratch files have no name (O_TMPFILE), so nothing
//              is left behind however the process ends; where the file system has no O_TMPFILE the
//              name is removed right after opening. All space is allocated before use.
// Ownership    Closes its descriptor on destruction; a Queue that still has requests on it must be
//              drained first.
// Threads      Immutable after opening.
//
//   FATHOM_ASSIGN(aio::File file, aio::File::create_scratch("/mnt/nvme0", 64 * GiB));
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace fathom::aio {

// Whether scratch files may be made in `directory`, without making one: it is there, a directory,
// writable. Warns, as a file there would, when the file system has no direct I/O.
Result<void> check_scratch_directory(const std::string& directory);

class File {
 public:
  // A nameless file of exactly `bytes` in `directory`, fully allocated. Errors name the directory:
  // missing, not a directory, read-only, full ("need X, have Y on Z"); on failure no space stays
  // taken. A file system without O_DIRECT (tmpfs, some overlays) gives a buffered file and one
  // warning with its name.
  static Result<File> create_scratch(const std::string& directory, std::uint64_t bytes);

  // A new named file of `bytes` (0: grows by writing), mode 0600, never following links and never
  // replacing an existing file.
  static Result<File> create(const std::string& path, std::uint64_t bytes);

  // A regular file that the caller opened, for reading or for both; its size is the file's.
  // `path` is for messages.
  static Result<File> over(UniqueFd fd, const std::string& path);

  // An existing file, read-only.
  static Result<File> open_read(const std::string& path);

  int fd() const { return fd_.get(); }
  // Different for every file that this process ever opens, unlike the descriptor's number.
  std::uint64_t id() const { return id_; }
  bool direct() const { return direct_; }  // O_DIRECT is on
  // Offsets, lengths and addresses of a transfer must be multiples of this: what statx says of the
  // file, 4096 where it says nothing, 1 without O_DIRECT.
  std::uint64_t alignment() const { return alignment_; }
  // RWF_DONTCACHE for every transfer where O_DIRECT is refused and the kernel has it (6.14), else
  // 0.
  int flags() const { return flags_; }
  // To be called for what has been written. Without O_DIRECT and RWF_DONTCACHE it keeps the page
  // cache small: every stride of writes is sent to the device and the one before it dropped. Any
  // thread; may block as a write does.
  void written(std::uint64_t offset, std::uint64_t bytes) const;
  std::uint64_t size() const { return size_; }  // bytes when opened
  const std::string& path() const {
    return path_;
  }  // for messages; scratch files say "DIR (scratch)"

 private:
  class WriteBehind;
  Result<void> choose_access(const std::string& where, const std::string& directory);
  static std::uint64_t next_id();

  UniqueFd fd_;
  std::uint64_t id_ = next_id();
  bool direct_ = false;
  int flags_ = 0;
  std::uint64_t alignment_ = 1;
  std::shared_ptr<WriteBehind> behind_;  // where writes leave pages behind
  std::uint64_t size_ = 0;
  std::string path_;
};

}  // namespace fathom::aio
