// SPDX-License-Identifier: Apache-2.0
#include "process.hpp"

#include <cstdlib>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.hpp"
#include "scratch.hpp"

namespace fathom::tools {
namespace {

constexpr int hang_milliseconds = 180'000;

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> list;
  for (std::string& text : strings) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

std::vector<std::string> environment(const std::map<std::string, std::string>& added) {
  std::map<std::string, std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    all[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
  }
  for (const auto& [name, value] : added) all[name] = value;
  std::vector<std::string> list;
  for (const auto& [name, value] : all) list.push_back(name + "=" + value);
  return list;
}

}  // namespace

Process::Process(const std::vector<std::string>& command, const Launch& launch) {
  out_path_ = new_scratch_name("out");
  err_path_ = new_scratch_name("err");
  const std::string in_path = new_scratch_name("in");
  write_file(in_path, launch.input);
  const int in = ::open(in_path.c_str(), O_RDONLY | O_CLOEXEC);
  const int out = ::open(out_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const int err = ::open(err_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  std::vector<std::string> arguments = command, variables = environment(launch.variables);
  const std::vector<char*> argv = pointers(arguments), envp = pointers(variables);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(err, 2);
    if (launch.before_exec) launch.before_exec();
    ::execvpe(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  for (const int fd : {in, out, err}) ::close(fd);
  ::unlink(in_path.c_str());
  pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
}

Process::~Process() {
  if (!ended_) {
    ::kill(pid_, SIGKILL);
    reap(0);
  }
  if (pidfd_ >= 0) ::close(pidfd_);
  ::unlink(out_path_.c_str());
  ::unlink(err_path_.c_str());
}

void Process::reap(int flags) {
  if (ended_) return;
  int status = 0;
  struct rusage usage{};
  if (::wait4(pid_, &status, flags, &usage) != pid_) return;
  ended_ = true;
  if (WIFEXITED(status)) outcome_.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome_.signal = WTERMSIG(status);
  outcome_.peak_resident = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
  outcome_.out = read_file(out_path_);
  outcome_.err = read_file(err_path_);
}

bool Process::running() {
  reap(WNOHANG);
  return !ended_;
}

bool Process::wait_until(const std::string& directory, const std::function<bool()>& seen) {
  const int watch = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  ::inotify_add_watch(watch, directory.c_str(), IN_CREATE | IN_MODIFY | IN_MOVED_TO);
  bool found = seen();
  while (!found && running()) {
    struct pollfd events[] = {{watch, POLLIN, 0}, {pidfd_, POLLIN, 0}};
    if (::poll(events, 2, hang_milliseconds) == 0) break;  // finish() finds the hang
    char ignored[4096];
    while (::read(watch, ignored, sizeof ignored) > 0) {
    }
    found = seen();
  }
  ::close(watch);
  return found;
}

void Process::send(int signal) {
  if (running()) ::kill(pid_, signal);
}

Outcome Process::finish() {
  struct pollfd event{pidfd_, POLLIN, 0};
  if (running() && ::poll(&event, 1, hang_milliseconds) == 0) {
    outcome_.hung = true;
    ::kill(pid_, SIGKILL);
  }
  reap(0);
  return outcome_;
}

Outcome run(const std::vector<std::string>& command, const Launch& launch) {
  return Process(command, launch).finish();
}

}  // namespace fathom::tools
