// SPDX-License-Identifier: Apache-2.0
//
// JobDirectory: one directory of a durable store, private, locked, and opened by nobody's links.
//
// Purpose      A store has a directory `fathom-<id>` under each of its paths: mode 0700, its files
//              0600 and created exclusively, everything below it opened relative to its descriptor
//              without following a link. The directory is locked as long as the store is open:
//              exclusively by a run, shared by readers. The file `owner` in it says by whom.
// Ownership    Owns the directory's descriptor and the lock. Removes nothing but by remove_all().
// Threads      One at a time.
// Errors       A link where a directory or file should be, another user's file, a parent that
//              everybody may write to without the sticky bit, a live owner: each is refused by
//              name.
//
//   FATHOM_ASSIGN(JobDirectory job, JobDirectory::create(calls, "/mnt/nvme0", id, 0, "/runs/a"));
//   FATHOM_ASSIGN(UniqueFd data, job.create_file("data"));
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "swap/file_calls.hpp"
#include "swap/owner.hpp"

namespace fathom::swap {

enum class Access {
  look,  // no lock: what it says may change meanwhile
  read,  // shared lock: refused while a run has the store
  run,   // exclusive lock, and the directory becomes this process's
};

class JobDirectory {
 public:
  // A new directory under `parent`. Whatever fails, nothing is left behind.
  static Result<JobDirectory> create(FileCalls& calls, const std::string& parent, const StoreId& id,
                                     std::uint32_t path, std::string_view output);

  // An existing one. A lock that another holds is asked for again for `patience` seconds: the
  // kernel keeps a killed process's files until its I/O has drained.
  static Result<JobDirectory> open(FileCalls& calls, const std::string& directory, Access access,
                                   double patience);

  JobDirectory(JobDirectory&&) = default;
  JobDirectory& operator=(JobDirectory&&) = default;

  const std::string& path() const { return path_; }
  const Owner& owner() const { return owner_; }

  // A new file, mode 0600, never replacing one.
  Result<UniqueFd> create_file(const char* name);
  // A regular file of this user that nobody else may touch and no other name refers to.
  Result<UniqueFd> open_file(const char* name, bool writable);
  Result<void> sync();  // makes names in it durable

  // Says in `owner` that this process has it now, for `output`.
  Result<void> take_over(std::string_view output);

  // Unlinks the store's files and the directory. An Error names what else lies in it.
  Result<void> remove_all();

 private:
  JobDirectory(FileCalls& calls, std::string path) : calls_(&calls), path_(std::move(path)) {}
  Result<void> acquire(Access access, double patience);
  Result<Owner> read_owner();
  Result<void> write_owner();
  Result<void> check(int fd, const std::string& where, bool directory) const;
  Error failed(std::string_view tried, std::string_view name) const;

  FileCalls* calls_;
  std::string path_, name_;
  UniqueFd parent_, fd_;  // the lock is on fd_
  Owner owner_;
};

// The names `fathom-<32 hexadecimal digits>` in a directory, sorted.
std::vector<std::string> job_directories_in(const std::string& parent);
std::string job_directory_name(const StoreId& id);

inline constexpr const char* owner_file_name = "owner";
inline constexpr const char* new_owner_file_name = "owner.new";  // while it is replaced
inline constexpr const char* journal_file_name = "journal";
inline constexpr const char* data_file_name = "data";

}  // namespace fathom::swap
