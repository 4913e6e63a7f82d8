// SPDX-License-Identifier: Apache-2.0
#include "aio/file_system.hpp"

#include <fmt/format.h>
#include <sys/vfs.h>

namespace fathom::aio {

FileSystem file_system_from_magic(unsigned long magic) {
  switch (magic) {
    case 0xEF53: return {"ext4", false};
    case 0x58465342: return {"xfs", false};
    case 0x9123683E: return {"btrfs", false};
    case 0x2FC12FC1: return {"zfs", false};
    case 0xF2F52010: return {"f2fs", false};
    case 0x01021994: return {"tmpfs", true};
    case 0x858458F6: return {"ramfs", true};
    case 0x794C7630: return {"overlayfs", false};
    case 0x6969: return {"nfs", false};
    case 0x65735546: return {"fuse", false};
    case 0x01021997: return {"9p", false};
    case 0x0BD00BD0: return {"lustre", false};
    default: return {fmt::format("file system 0x{:x}", magic), false};
  }
}

FileSystem file_system_of(int fd) {
  struct statfs info{};
  if (::fstatfs(fd, &info) != 0) return {"unknown file system", false};
  return file_system_from_magic(static_cast<unsigned long>(info.f_type) & 0xFFFFFFFFUL);
}

}  // namespace fathom::aio
