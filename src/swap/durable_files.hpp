// SPDX-License-Identifier: Apache-2.0
//
// DurableFiles: everything of a durable store that is on disk, opened or created together.
//
// Purpose      One job directory per path with a data file in it; the first also holds the journal.
//              Each data file has two slots for every extent: the committed one is never written.
// Ownership    Owns directories, locks and descriptors. A store that was created here and to which
//              nothing was committed is removed again when the object goes: a start that fails
//              leaves nothing behind.
// Threads      One at a time.
//
//   FATHOM_ASSIGN(DurableFiles files, DurableFiles::create(layout, {.parents = {"/mnt/nvme0"}}));
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "aio/file.hpp"
#include "aio/file_system.hpp"
#include "swap/journal.hpp"

namespace fathom::swap {

struct DurableOptions {
  std::vector<std::string> parents;  // directories, one per path of the layout
  std::string description;           // the caller's, kept in the superblock
  std::string output;                // of the run: absolute path of its --out
  FileCalls* calls = &FileCalls::real();
};

inline constexpr double lock_patience = 5;  // seconds

// What DurableFiles will take on each path, the journal included.
std::vector<std::uint64_t> durable_bytes(const Layout& layout, std::uint64_t description_bytes);

// A layout's twin in which every section of every chunk has space, on the same paths by weight.
Layout whole_layout(const Layout& layout, const std::vector<double>& path_weights);

class DurableFiles {
 public:
  // All space is reserved and everything but the data is on the device when it returns.
  static Result<DurableFiles> create(const Layout& layout, const DurableOptions& options);
  // `directories`: the job directories in the order of the paths.
  static Result<DurableFiles> open(const std::vector<std::string>& directories, Access access,
                                   FileCalls& calls = FileCalls::real(),
                                   double patience = lock_patience);

  DurableFiles(DurableFiles&&) = default;
  DurableFiles& operator=(DurableFiles&&) = delete;
  ~DurableFiles();

  const Layout& layout() const { return journal_->layout(); }
  const Superblock& superblock() const { return journal_->superblock(); }
  const std::string& journal_path() const { return journal_->path(); }
  std::vector<std::string> directories() const;
  const Owner& owner() const { return jobs_.front().owner(); }

  const aio::File* file(std::uint32_t path) const {
    return files_[path] ? &*files_[path] : nullptr;
  }
  // Where an extent's slot begins in its path's file.
  std::uint64_t slot_offset(const Chunk& chunk, std::uint8_t slot) const {
    return data_header_bytes + slot * layout().file_bytes()[chunk.path] + chunk.offset;
  }

  // The committed record; nothing when nothing was committed.
  const std::optional<Record>& committed() const { return committed_; }
  // Syncs every data file, then makes `record` the committed one. `record` must refer to slots that
  // the committed one does not. After a failure every later commit fails with the same Error.
  Result<void> commit(const Record& record);

  // Says whose the store is now; for runs that continue one.
  Result<void> take_over(const std::string& output);

 private:
  explicit DurableFiles(FileCalls& calls) : calls_(&calls) {}
  Result<void> create_data(std::uint32_t path, std::uint64_t slot_bytes, const StoreId& id);
  Result<void> open_data(std::uint32_t path, bool writable);
  std::string data_path(std::uint32_t path) const;

  FileCalls* calls_;
  std::vector<JobDirectory> jobs_;
  std::optional<Journal> journal_;
  std::vector<std::optional<aio::File>> files_;
  std::optional<Record> committed_;
  std::optional<Error> failure_;
  bool created_ = false;
};

}  // namespace fathom::swap
