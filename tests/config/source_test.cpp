// SPDX-License-Identifier: Apache-2.0
#include "config/source.hpp"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

namespace fs = std::filesystem;

// A folder of its own that goes away again.
class Source : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "fathom-config-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, std::string_view text) const {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }

  fs::path folder_;
};

constexpr std::string_view text = "{\"train_batch_size\": 3}";

TEST_F(Source, IsAPath) { EXPECT_EQ(must_load(write("ds.json", text)).config.batch.train, 3U); }

TEST_F(Source, IsJsonText) {
  EXPECT_EQ(must_load("\n {\"train_batch_size\": 3}").config.batch.train, 3U);
}

TEST_F(Source, IsBase64OfJsonText) {
  EXPECT_EQ(must_load("eyJ0cmFpbl9iYXRjaF9zaXplIjogM30=").config.batch.train, 3U);
  // The two alphabets differ in the letters for 62 and 63.
  EXPECT_EQ(read_source("eyJhYmMiOiI_fj9-In0").value().text, "{\"abc\":\"?~?~\"}");
  EXPECT_EQ(read_source("eyJhYmMiOiI/fj9+In0=").value().text, "{\"abc\":\"?~?~\"}");
}

TEST_F(Source, IsStandardInput) {
  std::istringstream stream{std::string(text)};
  std::streambuf* saved = std::cin.rdbuf(stream.rdbuf());
  const auto source = read_source("-");
  std::cin.rdbuf(saved);
  std::cin.clear();
  ASSERT_TRUE(source);
  EXPECT_EQ(source->text, text);
  EXPECT_EQ(source->origin, "standard input");
}

TEST_F(Source, ThatIsMissingIsNamed) {
  const auto source = read_source((folder_ / "no.json").string());
  ASSERT_FALSE(source);
  EXPECT_EQ(source.error().code(), Errc::bad_config);
  EXPECT_SAYS(source.error().message(), "no.json");
  EXPECT_FALSE(read_source(""));
  EXPECT_FALSE(read_source("eyJ0cm!"));
}

TEST_F(Source, ThatIsADirectoryIsAnError) {
  const auto source = read_source(folder_.string());
  ASSERT_FALSE(source);
  EXPECT_EQ(source.error().code(), Errc::bad_config);
}

TEST_F(Source, OfMoreThanAMebibyteIsRefused) {
  const auto source = read_source(write("big.json", "{" + std::string(2 << 20, ' ') + "}"));
  ASSERT_FALSE(source);
  EXPECT_EQ(source.error().code(), Errc::bad_config);
}

TEST_F(Source, IsNamedInEveryProblemWithItsLine) {
  const std::string path = write("ds.json", "{\"train_batch_size\": 1,\n\"stage\": 4}");
  const auto loaded = load(path, {});
  ASSERT_FALSE(loaded);
  EXPECT_SAYS(loaded.error().message(), path + ":2:1: stage: unknown key");
}

}  // namespace
}  // namespace fathom::config
