// SPDX-License-Identifier: Apache-2.0
#include "result_file.hpp"

#include <cerrno>
#include <sstream>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/text_file.hpp"

namespace fathom::tools {

Result<ResultFile> ResultFile::open(const std::string& path, bool resume) {
  const auto failed = [&](const char* tried) {
    return fail(Error(Errc::io, tried)
                    .on(path)
                    .because_errno(errno)
                    .remedy("choose a file that you may write with --out"));
  };
  const bool existed = ::access(path.c_str(), F_OK) == 0;
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (resume ? 0 : O_TRUNC);
  ResultFile file(path, UniqueFd(::open(path.c_str(), flags, 0644)));
  if (file.fd_.get() < 0) return failed("open the results");
  file.created_ = !existed;
  if (!resume || !existed) return file;

  FATHOM_ASSIGN(const std::string text, read_text_file(path));
  const std::size_t end = text.rfind('\n');
  const std::size_t whole = end == std::string::npos ? 0 : end + 1;
  std::istringstream lines(text.substr(0, whole));
  for (std::string line; std::getline(lines, line); ++file.lines_) {
    const auto value = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!value.is_object() || !value.contains("ids"))
      return fail(Error(Errc::bad_input, "resume")
                      .on(fmt::format("{}:{}", path, file.lines_ + 1))
                      .because("it is not a result of generate")
                      .remedy("give the file that an earlier --out wrote"));
  }
  if (whole < text.size() && ::ftruncate(file.fd_.get(), static_cast<off_t>(whole)) != 0)
    return failed("cut off a half-written result");
  return file;
}

ResultFile::~ResultFile() {
  if (created_ && fd_.get() >= 0) ::unlink(path_.c_str());
}

Result<void> ResultFile::append(std::string_view line) {
  const std::string whole = fmt::format("{}\n", line);
  for (std::size_t at = 0; at < whole.size();) {
    const ssize_t wrote = ::write(fd_.get(), whole.data() + at, whole.size() - at);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0)
      return fail(Error(Errc::io, "write a result")
                      .on(path_)
                      .because_errno(errno)
                      .remedy("make room, then go on with --resume"));
    at += static_cast<std::size_t>(wrote);
    created_ = false;  // it is worth keeping
  }
  if (::fdatasync(fd_.get()) != 0 && errno != EINVAL)
    return fail(Error(Errc::io, "write a result")
                    .on(path_)
                    .because_errno(errno)
                    .remedy("make room, then go on with --resume"));
  return {};
}

}  // namespace fathom::tools
