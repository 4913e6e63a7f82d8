// SPDX-License-Identifier: Apache-2.0
#include "base/text_file.hpp"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <stdlib.h>

namespace fathom {
namespace {

class TextFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "fathom-base-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string path(const char* name) const { return (directory_ / name).string(); }

  std::filesystem::path directory_;
};

TEST_F(TextFile, ReadsWhatWasWrittenAndLeavesNoTemporaryFile) {
  ASSERT_TRUE(write_text_file(path("a"), "first"));
  ASSERT_TRUE(write_text_file(path("a"), std::string(100'000, 'x')));
  EXPECT_EQ(read_text_file(path("a"))->size(), 100'000U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1);
}

TEST_F(TextFile, ErrorsNameThePath) {
  const auto missing = read_text_file(path("none"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), Errc::not_found);
  EXPECT_NE(missing.error().message().find("none"), std::string::npos);
  const auto nowhere = write_text_file(path("no/such/file"), "x");
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.error().message().find("no/such/file"), std::string::npos);
}

TEST_F(TextFile, ADirectoryWhereAFileIsRefused) {
  ASSERT_TRUE(write_text_file(path("f"), "x"));
  EXPECT_FALSE(make_directories(path("f")));
  EXPECT_TRUE(make_directories(path("d/e")));
  EXPECT_TRUE(make_directories(path("d/e")));
}

}  // namespace
}  // namespace fathom
