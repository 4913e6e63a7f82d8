// SPDX-License-Identifier: Apache-2.0
//
// Where the tests write: one directory a program, gone at its end, and mounts for those who may.
#pragma once

#include <memory>
#include <string>

namespace fathom::tools {

// A name in the program's scratch directory that nothing else has.
std::string new_scratch_name(const std::string& stem);
std::string new_scratch_directory(const std::string& stem);

// A file system of its own, unmounted when the object goes. Mounts live in a mount namespace of
// this process, so that nothing outlives it.
class Mount {
 public:
  // `options` as in mount -o, for example "size=1M". Null when this process may not mount.
  static std::unique_ptr<Mount> tmpfs(const std::string& options);
  // A fresh ext4 in a file of `bytes`; null without loop devices or mkfs.ext4 too.
  static std::unique_ptr<Mount> ext4(std::uint64_t bytes);
  ~Mount();
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

  const std::string& path() const { return path_; }
  void make_read_only();
  void resize(const std::string& options);  // tmpfs
  void shut_down();                         // ext4: from now on every operation fails with EIO

 private:
  explicit Mount(std::string path) : path_(std::move(path)) {}
  std::string path_, image_;
};

}  // namespace fathom::tools

#define FATHOM_NEEDS_MOUNT(mount) \
  if (!(mount)) GTEST_SKIP() << "mounting needs root (and loop devices and mkfs.ext4 for ext4)"
