// SPDX-License-Identifier: Apache-2.0
//
// FileSystem: which file system a descriptor lies on, by the magic number that statfs gives, and
// what is to be known of it for large direct I/O.
//
//   if (!file_system_of(fd).advice.empty()) say(file_system_of(fd).advice);
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace fathom::aio {

struct FileSystem {
  std::string name = {};   // "ext4", "tmpfs", or "file system 0x…"
  bool in_memory = false;  // tmpfs, ramfs: O_DIRECT means nothing there even where it is accepted
  bool copy_on_write = false;  // rewriting a block moves it: files fragment and writes cost more
  std::string advice = {};     // worth saying once; empty for the file systems that fit
};

FileSystem file_system_of(int fd);
FileSystem file_system_from_magic(unsigned long magic);

// To be called on a new, empty file: sets NOCOW on btrfs, where it must come before the first byte.
void prepare_new_file(int fd);

// Pieces that the file lies in on its device (FIEMAP), absent where the file system cannot tell;
// and the same for each GiB of its size: some ten are normal, thousands cost bandwidth.
std::optional<std::uint64_t> extent_count(int fd);
std::optional<double> extents_per_gib(int fd);

}  // namespace fathom::aio
