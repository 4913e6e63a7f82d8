// SPDX-License-Identifier: Apache-2.0
//
// Journal: the file that says which bytes of a durable store are the committed step.
//
// Purpose      A superblock, written once, and two record areas that take turns: record n goes to
//              area n mod 2, so the newest whole record is never written over. A commit is durable
//              when append() returns.
// Ownership    Owns the file's descriptor and one buffer of a record's size, allocated once.
// Threads      One at a time.
// Failure      A failed write or sync is final: the kernel may have dropped what it could not
//              write, so nothing is tried again and every later append fails with the same Error.
//
//   FATHOM_ASSIGN(std::optional<Record> last, journal.newest());
//   FATHOM_CHECK(journal.append(record));
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "swap/job_directory.hpp"
#include "swap/store_format.hpp"

namespace fathom::swap {

class Journal {
 public:
  // A new journal with all its space, and its superblock on the device.
  static Result<Journal> create(FileCalls& calls, JobDirectory& job, Superblock superblock);
  static Result<Journal> open(FileCalls& calls, JobDirectory& job, bool writable);

  const Superblock& superblock() const { return superblock_; }
  const Layout& layout() const { return layout_; }
  const std::string& path() const { return path_; }
  std::uint64_t bytes() const { return first_record_ + 2 * record_bytes_; }

  // The last record that is whole; nothing when none was ever written. A record that was cut off is
  // passed over, and an Error when it is the only one.
  Result<std::optional<Record>> newest();
  Result<void> append(const Record& record);

 private:
  Journal(FileCalls& calls, UniqueFd file, std::string path, Superblock superblock,
          std::uint64_t first_record);
  Error failed(std::string_view tried) const;

  FileCalls* calls_;
  UniqueFd file_;
  std::string path_;
  Superblock superblock_;
  Layout layout_;
  std::uint64_t hash_count_ = 0, first_record_ = 0, record_bytes_ = 0;
  std::vector<std::byte> buffer_;
  std::optional<Error> failure_;
};

}  // namespace fathom::swap
