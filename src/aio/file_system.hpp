// SPDX-License-Identifier: Apache-2.0
//
// FileSystem: which file system a descriptor lies on, by the magic number that statfs gives.
#pragma once

#include <string>

namespace fathom::aio {

struct FileSystem {
  std::string name;        // "ext4", "tmpfs", or "file system 0x…"
  bool in_memory = false;  // tmpfs, ramfs: O_DIRECT means nothing there even where it is accepted
};

FileSystem file_system_of(int fd);
FileSystem file_system_from_magic(unsigned long magic);

}  // namespace fathom::aio
