// SPDX-License-Identifier: Apache-2.0
#include "aio/file_system.hpp"

#include <fmt/format.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/units.hpp"

namespace fathom::aio {

FileSystem file_system_from_magic(unsigned long magic) {
  switch (magic) {
    case 0xEF53: return {.name = "ext4"};
    case 0x58465342: return {.name = "xfs"};
    case 0x9123683E:
      return {.name = "btrfs",
              .copy_on_write = true,
              .advice =
                  "copies on write; files made here are set NOCOW, which takes its checksums "
                  "off them, and snapshots or compression of the directory undo it"};
    case 0x2FC12FC1:
      return {.name = "zfs",
              .copy_on_write = true,
              .advice =
                  "copies on write and keeps a cache of its own; a dataset with recordsize=1M "
                  "and primarycache=metadata, or better a disk with ext4 or xfs, is faster"};
    case 0xF2F52010: return {.name = "f2fs"};
    case 0x01021994: return {.name = "tmpfs", .in_memory = true};
    case 0x858458F6: return {.name = "ramfs", .in_memory = true};
    case 0x794C7630:
      return {.name = "overlayfs",
              .advice =
                  "is a container's own layer; a mounted volume is faster and leaves the "
                  "container's size limit alone"};
    case 0x6969:
      return {.name = "nfs",
              .advice = "is a network: each block is a call to the server; a local disk is faster"};
    case 0xFF534D42:
      return {.name = "cifs",
              .advice = "is a network: each block is a call to the server; a local disk is faster"};
    case 0x65735546:
      return {.name = "fuse",
              .advice = "runs in a process: each block goes through it; a local disk is faster"};
    case 0x01021997: return {.name = "9p"};
    case 0x0BD00BD0: return {.name = "lustre"};
    default: return {.name = fmt::format("file system 0x{:x}", magic)};
  }
}

FileSystem file_system_of(int fd) {
  struct statfs info{};
  if (::fstatfs(fd, &info) != 0) return {.name = "unknown file system"};
  return file_system_from_magic(static_cast<unsigned long>(info.f_type) & 0xFFFFFFFFUL);
}

void prepare_new_file(int fd) {
  if (file_system_of(fd).name != "btrfs") return;
  int flags = 0;
  if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_NOCOW_FL;
  ::ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

std::optional<std::uint64_t> extent_count(int fd) {
  fiemap request{};
  request.fm_length = FIEMAP_MAX_OFFSET;
  request.fm_flags = FIEMAP_FLAG_SYNC;
  if (::ioctl(fd, FS_IOC_FIEMAP, &request) != 0) return std::nullopt;
  return request.fm_mapped_extents;
}

std::optional<double> extents_per_gib(int fd) {
  const auto count = extent_count(fd);
  struct stat info{};
  if (!count || ::fstat(fd, &info) != 0 || info.st_size <= 0) return std::nullopt;
  return static_cast<double>(*count) * static_cast<double>(GiB) / static_cast<double>(info.st_size);
}

}  // namespace fathom::aio
