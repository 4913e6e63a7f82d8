// SPDX-License-Identifier: Apache-2.0
//
// ScratchDirectory: a fresh directory of a test, removed with everything in it.
#pragma once

#include <filesystem>
#include <string>

#include <stdlib.h>

namespace fathom::aio {

class ScratchDirectory {
 public:
  explicit ScratchDirectory(const std::string& parent = "") {
    std::string name = (parent.empty() ? std::filesystem::temp_directory_path().string() : parent) +
                       "/fathom-aio-XXXXXX";
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace fathom::aio
