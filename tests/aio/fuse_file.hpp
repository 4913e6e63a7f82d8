// SPDX-License-Identifier: Apache-2.0
//
// FuseFile: a file system with one file in it, whose reads a test answers as it likes: in part, or
// with an error. It speaks the kernel's protocol itself and needs no library; it needs root.
//
//   FuseFile fuse(directory.path(), 1 * MiB, [](std::uint64_t offset, std::uint32_t bytes) {
//     return static_cast<std::int64_t>(bytes / 2); });   // bytes to give, or -errno
//   fuse.path()  // its bytes are FuseFile::byte_at(offset)
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace fathom::aio {

class FuseFile {
 public:
  using Answer = std::function<std::int64_t(std::uint64_t offset, std::uint32_t bytes)>;

  FuseFile(const std::string& directory, std::uint64_t size, Answer answer)
      : at_(directory + "/fuse"), size_(size), answer_(std::move(answer)) {
    if (::geteuid() != 0) {
      why_ = "mounting needs root";
      return;
    }
    device_ = UniqueFd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!device_ || ::mkdir(at_.c_str(), 0700) != 0) {
      why_ = std::string("no /dev/fuse: ") + std::strerror(errno);
      return;
    }
    const std::string options = "fd=" + std::to_string(device_.get()) +
                                ",rootmode=40000,user_id=0,group_id=0,max_read=1048576";
    if (::mount("fathom-test", at_.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) != 0) {
      why_ = std::string("cannot mount fuse: ") + std::strerror(errno);
      return;
    }
    mounted_ = true;
    server_ = std::thread([this] { serve(); });
  }
  ~FuseFile() {
    // Unmounting ends the server: its next read says ENODEV.
    if (mounted_) ::umount2(at_.c_str(), MNT_FORCE | MNT_DETACH);
    if (server_.joinable()) server_.join();
  }
  FuseFile(const FuseFile&) = delete;
  FuseFile& operator=(const FuseFile&) = delete;

  const std::string& why() const { return why_; }
  std::string path() const { return at_ + "/data"; }
  unsigned reads() const { return reads_.load(); }
  static std::byte byte_at(std::uint64_t offset) {
    return static_cast<std::byte>((offset * 0x9E3779B97F4A7C15ULL) >> 56);
  }

 private:
  static constexpr std::uint64_t file_node = 2;

  void reply(std::uint64_t unique, int error, const void* body, std::size_t bytes) const {
    fuse_out_header header{static_cast<std::uint32_t>(sizeof(fuse_out_header) + bytes), -error,
                           unique};
    const iovec parts[] = {{&header, sizeof header}, {const_cast<void*>(body), bytes}};
    [[maybe_unused]] const auto sent = ::writev(device_.get(), parts, bytes > 0 ? 2 : 1);
  }
  fuse_attr attributes(std::uint64_t node) const {
    fuse_attr attr{};
    attr.ino = node;
    attr.mode = node == file_node ? S_IFREG | 0600 : S_IFDIR | 0700;
    attr.nlink = 1;
    attr.size = node == file_node ? size_ : 0;
    attr.blksize = 4096;
    return attr;
  }
  void read_reply(const fuse_in_header& header, const fuse_read_in& wanted) {
    ++reads_;
    const std::uint64_t left = wanted.offset < size_ ? size_ - wanted.offset : 0;
    const auto bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted.size, left));
    const std::int64_t given = answer_(wanted.offset, bytes);
    if (given < 0) return reply(header.unique, static_cast<int>(-given), nullptr, 0);
    std::vector<std::byte> data(static_cast<std::size_t>(given));
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = byte_at(wanted.offset + i);
    reply(header.unique, 0, data.data(), data.size());
  }
  void serve() {
    std::vector<char> buffer(2 << 20);
    for (;;) {
      const ssize_t got = ::read(device_.get(), buffer.data(), buffer.size());
      if (got < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN)) continue;
      if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) return;
      fuse_in_header header{};
      std::memcpy(&header, buffer.data(), sizeof header);
      const char* body = buffer.data() + sizeof header;
      switch (header.opcode) {
        case FUSE_INIT: {
          fuse_init_in asked{};
          std::memcpy(&asked, body, 16);
          fuse_init_out out{};
          out.major = FUSE_KERNEL_VERSION;
          out.minor = FUSE_KERNEL_MINOR_VERSION;
          out.max_readahead = asked.max_readahead;
          out.flags = FUSE_ASYNC_READ | FUSE_MAX_PAGES | FUSE_ASYNC_DIO;
          out.max_background = 64;
          out.congestion_threshold = 48;
          out.max_write = 1 << 20;
          out.max_pages = 256;
          reply(header.unique, 0, &out, sizeof out);
          break;
        }
        case FUSE_LOOKUP: {
          if (std::strcmp(body, "data") != 0) {
            reply(header.unique, ENOENT, nullptr, 0);
            break;
          }
          fuse_entry_out out{};
          out.nodeid = file_node;
          out.attr_valid = out.entry_valid = 3600;
          out.attr = attributes(file_node);
          reply(header.unique, 0, &out, sizeof out);
          break;
        }
        case FUSE_GETATTR: {
          fuse_attr_out out{};
          out.attr_valid = 3600;
          out.attr = attributes(header.nodeid);
          reply(header.unique, 0, &out, sizeof out);
          break;
        }
        case FUSE_OPEN: {
          fuse_open_out out{};
          out.open_flags = FOPEN_DIRECT_IO;
          reply(header.unique, 0, &out, sizeof out);
          break;
        }
        case FUSE_READ: {
          fuse_read_in wanted{};
          std::memcpy(&wanted, body, sizeof wanted);
          read_reply(header, wanted);
          break;
        }
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET: break;  // no answer is expected
        case FUSE_RELEASE:
        case FUSE_FLUSH: reply(header.unique, 0, nullptr, 0); break;
        case FUSE_STATFS: {
          fuse_statfs_out out{};
          out.st.bsize = out.st.frsize = 4096;
          out.st.namelen = 255;
          reply(header.unique, 0, &out, sizeof out);
          break;
        }
        default: reply(header.unique, ENOSYS, nullptr, 0);
      }
    }
  }

  std::string at_, why_;
  const std::uint64_t size_;
  const Answer answer_;
  UniqueFd device_;
  bool mounted_ = false;
  std::atomic<unsigned> reads_{0};
  std::thread server_;
};

}  // namespace fathom::aio
