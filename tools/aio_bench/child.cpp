// SPDX-License-Identifier: Apache-2.0
#include "child.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"

namespace fathom::aio_bench {
namespace {

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (const std::string& text : texts) all.push_back(const_cast<char*>(text.c_str()));
  all.push_back(nullptr);
  return all;
}

// Everything that arrives until the end, the time or the stop. False when it was cut short.
bool collect(int fd, double end, const std::atomic<bool>* stop, std::string& out) {
  std::array<char, 4096> piece{};
  for (;;) {
    if (now_seconds() > end || (stop != nullptr && stop->load())) return false;
    pollfd waiting{fd, POLLIN, 0};
    if (::poll(&waiting, 1, 50) <= 0) continue;
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got == 0) return true;
    if (got > 0) out.append(piece.data(), static_cast<std::size_t>(got));
    if (got < 0 && errno != EINTR && errno != EAGAIN) return true;
  }
}

}  // namespace

std::optional<std::string> find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/bin:/bin" : path;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::string directory(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::string file = directory + "/" + name;
    if (directory.starts_with('/') && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return std::nullopt;
}

Result<std::string> run_program(const std::vector<std::string>& arguments,
                                const std::vector<std::string>& environment, double seconds,
                                const std::atomic<bool>* stop) {
  const auto error = [&](Errc code) { return Error(code, "run").on(arguments.front()); };
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(error(Errc::io).because_errno(errno));
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  const std::vector<char*> argv = pointers(arguments), envp = pointers(environment);
  const pid_t child = ::fork();
  if (child < 0) return fail(error(Errc::io).because_errno(errno));
  if (child == 0) {  // only calls that are safe between fork and exec
    ::dup2(to.get(), STDOUT_FILENO);
    ::dup2(to.get(), STDERR_FILENO);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  to.reset();
  std::string text;
  const bool whole = collect(from.get(), now_seconds() + seconds, stop, text);
  if (!whole) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (stop != nullptr && stop->load())
    return fail(error(Errc::interrupted).because("interrupted; nothing is left behind"));
  if (!whole)
    return fail(error(Errc::timeout).because(fmt::format("still running after {} s", seconds)));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(error(Errc::io).because(fmt::format(
        "it ended with status {}: {}", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
        text.substr(0, 300))));
  return text;
}

}  // namespace fathom::aio_bench
