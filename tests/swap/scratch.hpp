// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the store and the swapper share: a directory that goes away again, aligned
// buffers, bytes that tell where they belong, and a second way into a store's nameless file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/unique_fd.hpp"
#include "swap/store.hpp"

namespace fathom::swap {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    const char* base = std::getenv("TMPDIR");
    std::string name = std::string(base != nullptr ? base : "/tmp") + "/fathom-swap-XXXXXX";
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
    EXPECT_FALSE(path_.empty());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Everything a run writes lies in one directory that TMPDIR names from here on. The processes of
// death tests inherit it, and cannot clean up themselves: the run removes what they leave.
class ScratchRoot : public testing::Environment {
 public:
  void SetUp() override {
    root_ = std::make_unique<TemporaryDirectory>();
    ::setenv("TMPDIR", root_->path().c_str(), 1);
  }
  void TearDown() override { root_.reset(); }

 private:
  std::unique_ptr<TemporaryDirectory> root_;
};
inline testing::Environment* const scratch_root =
    testing::AddGlobalTestEnvironment(new ScratchRoot);

// Memory that O_DIRECT accepts.
class Buffer {
 public:
  explicit Buffer(std::uint64_t bytes)
      : bytes_(bytes),
        data_(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{io_alignment}))) {
    std::fill(begin(), end(), std::byte{0});
  }
  Buffer(Buffer&&) = default;
  std::byte* data() { return data_.get(); }
  std::byte* begin() { return data_.get(); }
  std::byte* end() { return data_.get() + bytes_; }
  std::uint64_t size() const { return bytes_; }
  std::span<std::byte> slice(std::uint64_t offset, std::uint64_t bytes) {
    return std::span(data_.get(), bytes_).subspan(offset, bytes);
  }

 private:
  struct Free {
    void operator()(std::byte* data) const {
      ::operator delete(data, std::align_val_t{io_alignment});
    }
  };
  std::uint64_t bytes_;
  std::unique_ptr<std::byte, Free> data_;
};

// Fills with 8-byte words that depend on `stamp` and on their place.
inline void fill(std::span<std::byte> bytes, std::uint64_t stamp) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::uint64_t word = (stamp * 0x9e3779b97f4a7c15ULL) ^ (i / 8 * 0xbf58476d1ce4e5b9ULL);
    bytes[i] = static_cast<std::byte>(word >> (i % 8 * 8));
  }
}

inline bool holds(std::span<const std::byte> bytes, std::uint64_t stamp) {
  std::vector<std::byte> expected(bytes.size());
  fill(expected, stamp);
  return std::equal(bytes.begin(), bytes.end(), expected.begin());
}

// A second descriptor on the nameless files under `directory` that this process has open, found in
// /proc/self/fd: what a failing device does to the data, a test can do through it.
inline std::vector<UniqueFd> open_again(const std::string& directory) {
  std::vector<std::string> links;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (!gone && target.starts_with(directory + "/")) links.push_back(entry.path().string());
  }
  std::vector<UniqueFd> files;
  for (const std::string& link : links)
    files.emplace_back(::open(link.c_str(), O_RDWR | O_CLOEXEC));
  return files;
}

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

}  // namespace fathom::swap
