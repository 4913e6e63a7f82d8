// SPDX-License-Identifier: Apache-2.0
//
// What the tests of models share: a temporary directory, small files, and the directory of
// reference models ($FATHOM_SHARED, or shared/ beside the source tree), which may be absent.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

namespace fathom::models {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    const char* base = std::getenv("TMPDIR");
    std::string name = std::string(base != nullptr ? base : "/tmp") + "/fathom-models-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view text) const {
    const std::filesystem::path file = path_ / name;
    std::ofstream(file, std::ios::binary) << text;
    return file;
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_all(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

inline std::filesystem::path shared_path() {
  if (const char* set = std::getenv("FATHOM_SHARED")) return set;
  return std::filesystem::path(FATHOM_SOURCE_ROOT).parent_path() / "shared";
}

}  // namespace fathom::models

// Skips the test unless the reference directory holds `name`.
#define FATHOM_NEEDS_SHARED(name)                                                              \
  if (!std::filesystem::exists(::fathom::models::shared_path() / (name)))                      \
  GTEST_SKIP() << (::fathom::models::shared_path() / (name)).string() << " is not there; set " \
               << "FATHOM_SHARED to the directory of reference models"
