// SPDX-License-Identifier: Apache-2.0
//
// Process: a program under test, run to its end or watched while it runs.
//
// Purpose      Standard output and error go to files, so that nothing blocks on a full pipe.
//              Waiting is for events (the end of the process, growth of a file), never for a time;
//              the time limits only bound a hang. wait4 gives the peak resident set.
// Ownership    A process that still runs when its object goes is killed.
// Threads      One thread.
//
//   Outcome done = run({"/bin/echo", "hello"});
//   done.code == 0, done.out == "hello\n", done.peak_resident …
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <sys/types.h>

namespace fathom::tools {

struct Outcome {
  int code = -1;      // exit code; -1 when a signal ended it
  int signal = 0;     // that signal
  bool hung = false;  // it was killed at the time limit
  std::string out, err;
  std::uint64_t peak_resident = 0;  // bytes
};

struct Launch {
  std::string input = {};                             // standard input
  std::map<std::string, std::string> variables = {};  // added to the environment
  std::function<void()> before_exec = {};             // in the child; async-signal-safe calls only
};

class Process {
 public:
  Process(const std::vector<std::string>& command, const Launch& launch = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  bool running();

  // Blocks until `directory` shows `seen()`, looked at whenever something in it changes. False when
  // the process ended before.
  bool wait_until(const std::string& directory, const std::function<bool()>& seen);

  void send(int signal);
  Outcome finish();  // waits for the end

 private:
  void reap(int flags);

  pid_t pid_ = -1;
  int pidfd_ = -1;
  std::string out_path_, err_path_;
  bool ended_ = false;
  Outcome outcome_;
};

Outcome run(const std::vector<std::string>& command, const Launch& launch = {});

}  // namespace fathom::tools
