// SPDX-License-Identifier: Apache-2.0
#include "base/text_file.hpp"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace fathom {

Result<std::string> read_text_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in)
    return fail(Error(errno == ENOENT ? Errc::not_found : Errc::io, "read a file")
                    .on(path)
                    .because_errno(errno)
                    .remedy("check the path and its permissions"));
  std::ostringstream text;
  text << in.rdbuf();
  if (in.bad())
    return fail(Error(Errc::io, "read a file")
                    .on(path)
                    .because_errno(errno)
                    .remedy("check that it is a regular file on a healthy disk"));
  return std::move(text).str();
}

Result<void> write_text_file(const std::string& path, std::string_view text) {
  const auto failed = [&](const std::string& name) {
    Error error = Error(errno == ENOSPC ? Errc::no_space : Errc::io, "write a file")
                      .on(path)
                      .because_errno(errno)
                      .remedy("check that the directory exists, is writable and has space");
    if (!name.empty()) ::unlink(name.c_str());
    return fail(std::move(error));
  };
  const std::string temporary = fmt::format("{}.{}.tmp", path, ::getpid());
  UniqueFd fd(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd) return failed("");
  while (!text.empty()) {
    const ssize_t wrote = ::write(fd.get(), text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return failed(temporary);
    text.remove_prefix(static_cast<std::size_t>(wrote));
  }
  if (::fsync(fd.get()) != 0) return failed(temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return failed(temporary);
  return sync_directory(std::filesystem::path(path).parent_path().string());
}

Result<void> sync_directory(const std::string& path) {
  const std::string name = path.empty() ? "." : path;
  const UniqueFd fd(::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot sync a directory; there a rename is as durable as it gets.
  if (!fd || (::fsync(fd.get()) != 0 && errno != EINVAL && errno != EROFS))
    return fail(
        Error(Errc::io, "sync a directory").on(name).because_errno(errno).remedy("check the disk"));
  return {};
}

Result<void> make_directories(const std::string& path) {
  std::error_code status;
  std::filesystem::create_directories(path, status);
  if (status || !std::filesystem::is_directory(path))
    return fail(Error(Errc::io, "create a directory")
                    .on(path)
                    .because_errno(status ? status.value() : ENOTDIR)
                    .remedy("choose a path you may write to"));
  return {};
}

}  // namespace fathom
