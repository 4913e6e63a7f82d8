// SPDX-License-Identifier: Apache-2.0
#include "aio/space.hpp"

#include <cerrno>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "aio/file_system.hpp"
#include "base/log.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

int allocate(int fd, off_t bytes) {
  int status = 0;
  do status = ::fallocate(fd, 0, 0, bytes);
  while (status != 0 && errno == EINTR);
  return status;
}

}  // namespace

Result<void> reserve_space(int fd, const std::string& where, std::uint64_t bytes) {
  if (bytes == 0) return {};
  const char* tried = "reserve file space";
  struct statvfs info{};
  if (::fstatvfs(fd, &info) != 0)
    return fail(Error(Errc::io, tried).on(where).because_errno(errno));
  const std::uint64_t have = std::uint64_t{info.f_bavail} * info.f_frsize;
  const auto shortage = [&] {
    return Error(Errc::no_space, tried)
        .on(where)
        .because(
            fmt::format("need {}, have {} on {}", format_bytes(bytes), format_bytes(have), where))
        .remedy("free space there, or add another path");
  };
  if (bytes > have) return fail(shortage());
  const auto size = static_cast<off_t>(bytes);
  if (allocate(fd, size) == 0) return {};
  const int error = errno;
  // ext4 keeps what a failed reservation took; giving it back is ours.
  if (::ftruncate(fd, 0) != 0)
    log::warning("{}: space of a failed reservation could not be given back", where);
  if (error == ENOSPC || error == EDQUOT) return fail(shortage().because_errno(error));
  if (error == EFBIG)
    return fail(Error(Errc::no_space, tried)
                    .on(where)
                    .because(fmt::format("{} is more than one file may hold", format_bytes(bytes)))
                    .because_errno(error)
                    .remedy("raise the file size limit (ulimit -f), or use more paths"));
  if (error == EOPNOTSUPP)
    return fail(Error(Errc::unsupported, tried)
                    .on(where)
                    .because(file_system_of(fd).name + " cannot promise space")
                    .because_errno(error)
                    .remedy("choose a directory on ext4 or xfs"));
  return fail(Error(Errc::io, tried).on(where).because_errno(error));
}

}  // namespace fathom::aio
