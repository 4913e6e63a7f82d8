// SPDX-License-Identifier: Apache-2.0
//
// StoreReader: the committed state of a durable store, for those who do not train: export, inspect,
// and runs that take it over into another layout.
//
// Purpose      Opens a store whose process ended, however it ended, and reads sections with every
//              block checked. Memory is one section of one chunk.
// Ownership    Owns the files and a shared lock: a run of the store waits until it goes.
// Threads      One at a time.
//
//   FATHOM_ASSIGN(StoreReader store, StoreReader::open(directories, Access::read, names));
//   FATHOM_ASSIGN(auto bytes, store.read(chunk, Section::W));
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "swap/durable_files.hpp"

namespace fathom::swap {

class StoreReader {
 public:
  // Errors: not_found when nothing is committed; those of DurableFiles::open.
  static Result<StoreReader> open(const std::vector<std::string>& directories, Access access,
                                  FileCalls& calls = FileCalls::real(),
                                  double patience = lock_patience);

  const DurableFiles& files() const { return files_; }
  const Layout& layout() const { return files_.layout(); }
  const Record& record() const { return *files_.committed(); }
  void name_units(std::vector<std::string> names) { unit_names_ = std::move(names); }

  // Where a section is: its path's data file, and the offset in it.
  std::string path(ChunkId chunk) const;
  std::uint64_t offset(ChunkId chunk, Section section) const;

  // The section with its padding. Damage is an Error that names unit, section, path and offset.
  Result<std::vector<std::byte>> read(ChunkId chunk, Section section) const;

 private:
  StoreReader(DurableFiles files, FileCalls& calls);
  const SlotEntry& slot(ChunkId chunk, Section section) const {
    return record().slots[chunk * section_count + index(section)];
  }
  std::string place(ChunkId chunk, Section section, std::uint64_t block) const;

  DurableFiles files_;
  FileCalls* calls_;
  std::vector<std::size_t> first_hash_;
  std::vector<std::string> unit_names_;
};

}  // namespace fathom::swap
