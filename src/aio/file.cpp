// SPDX-License-Identifier: Apache-2.0
#include "aio/file.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <memory>
#include <mutex>
#include <random>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "aio/file_system.hpp"
#include "aio/log_once.hpp"
#include "aio/space.hpp"
#include "base/log.hpp"
#include "base/units.hpp"

#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x80
#endif

namespace fathom::aio {
namespace {

template <class Call>
auto retry_interrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

Error open_error(std::string_view tried, const std::string& target, int error) {
  switch (error) {
    case ENOENT:
      return Error(Errc::not_found, tried)
          .on(target)
          .because_errno(error)
          .remedy("create it, or name another one");
    case ENOTDIR:
      return Error(Errc::bad_config, tried)
          .on(target)
          .because("it is not a directory")
          .because_errno(error)
          .remedy("name a directory");
    case EROFS:
      return Error(Errc::io, tried)
          .on(target)
          .because("the file system is read-only")
          .because_errno(error)
          .remedy("choose a directory on a writable file system");
    case EEXIST:
      return Error(Errc::io, tried)
          .on(target)
          .because_errno(error)
          .remedy("choose a new name: existing files are never replaced");
    case ENOSPC:
      return Error(Errc::no_space, tried)
          .on(target)
          .because_errno(error)
          .remedy("free space or inodes there, or choose another directory");
    default:
      return Error(Errc::io, tried)
          .on(target)
          .because_errno(error)
          .remedy("choose a directory you may write to");
  }
}

Result<UniqueFd> open_directory(std::string_view tried, const std::string& directory) {
  if (directory.empty() || directory.find('\0') != std::string::npos)
    return fail(Error(Errc::bad_config, tried)
                    .on("\"\"")
                    .because("the path is empty or holds NUL")
                    .remedy("name a directory"));
  UniqueFd fd(retry_interrupted(
      [&] { return ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (!fd) return fail(open_error(tried, directory, errno));
  return fd;
}

Result<UniqueFd> open_nameless(int directory_fd, const std::string& directory) {
  const char* tried = "create a scratch file";
  UniqueFd fd(retry_interrupted(
      [&] { return ::openat(directory_fd, ".", O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600); }));
  if (fd) return fd;
  // File systems without O_TMPFILE, and kernels that do not know the flag, say one of these.
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
    return fail(open_error(tried, directory, errno));
  std::random_device random;
  const std::string name = fmt::format(".fathom-{:08x}{:08x}", random(), random());
  fd = UniqueFd(retry_interrupted([&] {
    return ::openat(directory_fd, name.c_str(), O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC,
                    0600);
  }));
  if (!fd) return fail(open_error(tried, directory, errno));
  if (::unlinkat(directory_fd, name.c_str(), 0) != 0)
    return fail(open_error("remove the name of a scratch file", directory + "/" + name, errno));
  return fd;
}

constexpr const char* in_memory = "keeps files in memory and has no direct I/O";

void warn_buffered(const std::string& directory, const FileSystem& system, const std::string& why) {
  log_once(log::Level::warning,
           fmt::format("{}: {} {}; reads and writes go through the page cache, which costs memory "
                       "and processor time",
                       directory, system.name, why));
}

// What statx says that direct transfers must be multiples of: 0 when the file takes none.
std::uint64_t direct_alignment(int fd) {
#ifdef STATX_DIOALIGN
  struct statx info{};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 &&
      (info.stx_mask & STATX_DIOALIGN) != 0)
    return std::max(info.stx_dio_mem_align, info.stx_dio_offset_align);
#else
  static_cast<void>(fd);
#endif
  return io_alignment;
}

// One block read with `flags`; an errno instead of success. A file that is shorter reads less.
int try_read(int fd, int flags) {
  const std::unique_ptr<void, decltype(&std::free)> block(
      std::aligned_alloc(io_alignment, io_alignment), &std::free);
  const iovec piece{block.get(), io_alignment};
  return retry_interrupted([&] { return ::preadv2(fd, &piece, 1, 0, flags); }) < 0 ? errno : 0;
}

}  // namespace

std::uint64_t File::next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

// Keeps at most two strides of written pages in the cache: one under way to the device, one
// filling.
class File::WriteBehind {
 public:
  explicit WriteBehind(int fd) : fd_(fd) {}

  void written(std::uint64_t offset, std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    filling_.add(offset, offset + bytes);
    if ((count_ += bytes) < stride) return;
    ::sync_file_range(fd_, filling_.begin(), filling_.bytes(), SYNC_FILE_RANGE_WRITE);
    if (under_way_.bytes() > 0) {
      ::sync_file_range(
          fd_, under_way_.begin(), under_way_.bytes(),
          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
      ::posix_fadvise(fd_, under_way_.begin(), under_way_.bytes(), POSIX_FADV_DONTNEED);
    }
    under_way_ = std::exchange(filling_, {});
    count_ = 0;
  }

 private:
  static constexpr std::uint64_t stride = 8 * MiB;

  // The hull of what was written: dropping clean pages between costs nothing but their next read.
  struct Range {
    std::uint64_t first = std::numeric_limits<std::uint64_t>::max(), last = 0;
    void add(std::uint64_t begin, std::uint64_t end) {
      first = std::min(first, begin);
      last = std::max(last, end);
    }
    off_t begin() const { return static_cast<off_t>(first); }
    off_t bytes() const { return last > first ? static_cast<off_t>(last - first) : 0; }
  };

  const int fd_;
  std::mutex mutex_;
  Range filling_, under_way_;
  std::uint64_t count_ = 0;
};

void File::written(std::uint64_t offset, std::uint64_t bytes) const {
  if (behind_) behind_->written(offset, bytes);
}

// Switches O_DIRECT on and proves it with one read, because some file systems accept the flag and
// refuse the first transfer. Opening without the flag first matters: a refused open(O_CREAT |
// O_DIRECT) leaves an empty file behind on some kernels.
Result<void> File::choose_access(const std::string& where, const std::string& directory) {
  const FileSystem system = file_system_of(fd());
  if (!system.advice.empty())
    log_once(log::Level::info, fmt::format("{}: {}: {}", directory, system.name, system.advice));
  const int plain = ::fcntl(fd(), F_GETFL);
  if (plain < 0) return fail(Error(Errc::io, "read file flags").on(where).because_errno(errno));
  std::string why;
  const std::uint64_t alignment = direct_alignment(fd());
  if (system.in_memory) {
    warn_buffered(directory, system, in_memory);
    return {};  // the page cache is the file: nothing to be kept small
  }
  if (alignment == 0) {
    why = "has no direct I/O for this file";
  } else if (alignment > io_alignment) {
    why = fmt::format("has direct I/O only in multiples of {}", format_bytes(alignment));
  } else if (::fcntl(fd(), F_SETFL, plain | O_DIRECT) != 0) {
    why = "has no direct I/O";
  } else if (const int error = try_read(fd(), 0); error == 0) {
    direct_ = true;
    alignment_ = alignment;
    return {};
  } else if (error != EINVAL && error != EOPNOTSUPP) {
    return fail(Error(Errc::io, "read the first block").on(where).because_errno(error));
  } else {
    why = "accepts O_DIRECT but refuses direct reads";
    if (::fcntl(fd(), F_SETFL, plain) != 0)
      return fail(Error(Errc::io, "switch direct I/O off").on(where).because_errno(errno));
  }
  if (try_read(fd(), RWF_DONTCACHE) == 0)
    flags_ = RWF_DONTCACHE;
  else
    behind_ = std::make_shared<WriteBehind>(fd());
  warn_buffered(directory, system, why);
  return {};
}

Result<void> check_scratch_directory(const std::string& directory) {
  const char* tried = "use a directory for scratch files";
  FATHOM_ASSIGN(const UniqueFd fd, open_directory(tried, directory));
  struct statvfs info{};
  if (::fstatvfs(fd.get(), &info) != 0) return fail(open_error(tried, directory, errno));
  if ((info.f_flag & ST_RDONLY) != 0) return fail(open_error(tried, directory, EROFS));
  if (::faccessat(AT_FDCWD, directory.c_str(), W_OK | X_OK, AT_EACCESS) != 0)
    return fail(open_error(tried, directory, errno));
  if (const FileSystem system = file_system_of(fd.get()); system.in_memory)
    warn_buffered(directory, system, in_memory);
  return {};
}

Result<File> File::create_scratch(const std::string& directory, std::uint64_t bytes) {
  FATHOM_ASSIGN(const UniqueFd parent, open_directory("create a scratch file", directory));
  File file;
  FATHOM_ASSIGN(file.fd_, open_nameless(parent.get(), directory));
  prepare_new_file(file.fd());
  FATHOM_CHECK(reserve_space(file.fd(), directory, bytes));
  FATHOM_CHECK(file.choose_access(directory, directory));
  file.size_ = bytes;
  file.path_ = directory + " (scratch)";
  return file;
}

Result<File> File::create(const std::string& path, std::uint64_t bytes) {
  const char* tried = "create a file";
  const auto slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "."
                                : slash == 0               ? "/"
                                                           : path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == ".." || name.find('\0') != std::string::npos)
    return fail(Error(Errc::bad_config, tried).on(path).because("it does not name a file"));
  FATHOM_ASSIGN(const UniqueFd parent, open_directory(tried, directory));
  struct stat info{};
  if (::fstat(parent.get(), &info) == 0 && (info.st_mode & S_IWOTH) != 0 &&
      (info.st_mode & S_ISVTX) == 0)
    log_once(log::Level::warning,
             directory + " can be written by everybody: others can replace the files in it");
  File file;
  file.fd_ = UniqueFd(retry_interrupted([&] {
    return ::openat(parent.get(), name.c_str(), O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC,
                    0600);
  }));
  if (!file.fd_) return fail(open_error(tried, path, errno));
  auto finish = [&]() -> Result<void> {
    prepare_new_file(file.fd());
    FATHOM_CHECK(reserve_space(file.fd(), path, bytes));
    return file.choose_access(path, directory_of(path));
  };
  if (auto finished = finish(); !finished) {
    ::unlinkat(parent.get(), name.c_str(), 0);
    return fail(std::move(finished).error());
  }
  file.size_ = bytes;
  file.path_ = path;
  return file;
}

Result<File> File::over(UniqueFd fd, const std::string& path) {
  File file;
  file.fd_ = std::move(fd);
  struct stat info{};
  if (::fstat(file.fd(), &info) != 0)
    return fail(Error(Errc::io, "use an open file").on(path).because_errno(errno));
  FATHOM_CHECK(file.choose_access(path, directory_of(path)));
  file.size_ = static_cast<std::uint64_t>(info.st_size);
  file.path_ = path;
  return file;
}

Result<File> File::open_read(const std::string& path) {
  const char* tried = "open a file";
  if (path.find('\0') != std::string::npos)
    return fail(Error(Errc::bad_config, tried)
                    .on(std::string_view(path).substr(0, path.find('\0')))
                    .because("the path holds NUL"));
  File file;
  // O_NONBLOCK: a FIFO must be refused below, not waited for. It has no effect on regular files,
  // but engines would report -EAGAIN for it, so it is cleared again.
  file.fd_ = UniqueFd(retry_interrupted(
      [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); }));
  if (!file.fd_) return fail(open_error(tried, path, errno));
  struct stat info{};
  if (::fstat(file.fd(), &info) != 0)
    return fail(Error(Errc::io, tried).on(path).because_errno(errno));
  if (!S_ISREG(info.st_mode))
    return fail(Error(Errc::bad_input, tried).on(path).because("it is not a regular file"));
  if (::fcntl(file.fd(), F_SETFL, ::fcntl(file.fd(), F_GETFL) & ~O_NONBLOCK) != 0)
    return fail(Error(Errc::io, tried).on(path).because_errno(errno));
  FATHOM_CHECK(file.choose_access(path, directory_of(path)));
  file.size_ = static_cast<std::uint64_t>(info.st_size);
  file.path_ = path;
  return file;
}

}  // namespace fathom::aio
