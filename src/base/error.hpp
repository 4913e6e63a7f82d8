// SPDX-License-Identifier: Apache-2.0
//
// Error: what was tried, on what, why it failed, and one thing to do about it.
//
// Purpose      Every failure that may happen in the field travels as an Error inside a Result (see
//              result.hpp). Conditions that may not happen are assertions, not Errors.
// Ownership    A value type; copies own their text.
// Threads      Immutable once built, so it may be read from any thread.
//
//   return std::unexpected(Error(Errc::io, "open the store file")
//                              .on(path)
//                              .because_errno(errno)
//                              .remedy("choose a directory you may write to with --nvme-path"));
//
// prints as:  open the store file: /mnt/nvme0/x: Permission denied (errno 13); choose a directory …
#pragma once

#include <string>
#include <string_view>

namespace fathom {

// The class of a failure. It decides the exit code of the programs, nothing else: people read the
// text.
enum class Errc {
  bad_config,   // the user's configuration or command line: exit code 2
  bad_input,    // a model, data or store file that is malformed or does not fit
  not_found,    // a file or directory that should exist does not
  io,           // the operating system or the device refused or failed an operation
  no_space,     // a file system or a memory budget is too small
  corrupt,      // data came back, but it is not what was written
  unsupported,  // valid, but this build or machine cannot do it
  timeout,      // an operation missed its deadline
  cancelled,    // given up because something else failed or the owner is being destroyed
  interrupted,  // SIGINT or SIGTERM after a clean commit: exit code 3
  internal,     // a bug in Fathom or an exception from a library
};

class Error {
 public:
  Error(Errc code, std::string_view tried) : code_(code), tried_(tried) {}

  // Builder steps; each returns *this so that they chain on a temporary.
  Error&& on(std::string_view target) &&;
  Error&& because(std::string_view why) &&;
  Error&& because_errno(int errno_value) &&;  // appends strerror text and keeps the number
  Error&& remedy(std::string_view text) &&;

  // Adds a target in front of the one that is there: "tensor x" + "file y at 4096".
  Error&& within(std::string_view outer) &&;

  Errc code() const { return code_; }
  int errno_value() const { return errno_; }
  const std::string& tried() const { return tried_; }
  const std::string& target() const { return target_; }
  const std::string& why() const { return why_; }
  const std::string& remedy_text() const { return remedy_; }

  // One line for people: "tried: target: why; remedy".
  std::string message() const;

 private:
  Errc code_;
  int errno_ = 0;
  std::string tried_, target_, why_, remedy_;
};

const char* to_string(Errc code);

}  // namespace fathom
