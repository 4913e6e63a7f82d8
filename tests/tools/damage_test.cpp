// SPDX-License-Identifier: Apache-2.0
//
// One flipped bit anywhere in a checkpoint is found, named, and never trained on or exported.
#include <filesystem>

#include "program.hpp"

namespace fathom::tools {
namespace {

class Damage : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    run_ = new Training{.model = small_model(), .steps = 1};
    ASSERT_TRUE(succeeded(fathom(run_->arguments())));
  }
  static void TearDownTestSuite() { delete run_; }

  std::string state() const { return step_directory(run_->out) + "/state-0.bin"; }
  std::string manifest() const { return step_directory(run_->out) + "/manifest.json"; }
  static Outcome verify() { return fathom({"inspect", run_->out, "--verify"}); }

  // `says` on stderr, and exit code 1, while the bit is flipped.
  void expect_found(const std::string& file, std::uint64_t offset,
                    const std::vector<std::string>& says) {
    flip(file, offset);
    const Outcome found = verify();
    flip(file, offset);
    EXPECT_EQ(found.code, 1) << file << " at " << offset;
    for (const std::string& text : says)
      EXPECT_NE(found.err.find(text), std::string::npos) << text << " not in " << found.err;
  }
  static Training* run_;
};
Training* Damage::run_ = nullptr;

TEST_F(Damage, NoneIsFoundInAWholeCheckpoint) {
  const Outcome whole = verify();
  ASSERT_TRUE(succeeded(whole));
  EXPECT_NE(whole.out.find("all verified"), std::string::npos);
  const Outcome step = fathom({"inspect", step_directory(run_->out), "--verify", "--json"});
  ASSERT_TRUE(succeeded(step));
  EXPECT_TRUE(json::parse(step.out).at("damage").empty());
}

TEST_F(Damage, InAnySectionIsNamedWithItsPlace) {
  const json extents = json::parse(fathom({"inspect", run_->out, "--json"}).out).at("extents");
  ASSERT_EQ(extents.size(), 5U * 4U);
  // Every section and every unit once: first byte, last byte, and one between.
  for (std::size_t i = 0; i < extents.size(); i += 3) {
    const json& extent = extents[i];
    const std::uint64_t offset = extent.at("offset"), bytes = extent.at("bytes");
    const std::uint64_t at = offset + (i % 2 == 0 ? i * bytes / extents.size() : bytes - 1);
    expect_found(
        state(), at,
        {state(), "unit " + extent.at("unit").get<std::string>(),
         "section " + extent.at("section").get<std::string>(), "offset " + std::to_string(offset)});
  }
}

TEST_F(Damage, InThePaddingIsFoundToo) {
  const json extents = json::parse(fathom({"inspect", run_->out, "--json"}).out).at("extents");
  std::size_t tried = 0;
  for (const json& extent : extents) {
    const std::uint64_t end =
        extent.at("offset").get<std::uint64_t>() + extent.at("bytes").get<std::uint64_t>();
    if (end % 4096 == 0 || tried == 2) continue;
    ++tried;
    expect_found(
        state(), end,
        {state(), "padding", "unit " + extent.at("unit").get<std::string>(),
         "section " + extent.at("section").get<std::string>(), "offset " + std::to_string(end)});
  }
  EXPECT_EQ(tried, 2U);
  const std::uint64_t size = std::filesystem::file_size(state());
  expect_found(state(), size - 1, {state(), "offset " + std::to_string(size - 1)});
}

TEST_F(Damage, InTheManifestIsFoundWhereverItIs) {
  const std::uint64_t size = std::filesystem::file_size(manifest());
  for (const std::uint64_t at : {std::uint64_t{0}, size / 3, size - 18, size - 10, size - 1})
    expect_found(manifest(), at, {manifest(), "changed or damaged"});
}

TEST_F(Damage, OfLengthsAndNamesIsFound) {
  const std::string text = read_file(manifest());
  write_file(manifest(), text.substr(0, text.size() / 2));
  EXPECT_TRUE(refused(verify(), 1, {manifest()}));
  write_file(manifest(), text);
  const std::uint64_t size = std::filesystem::file_size(state());
  std::filesystem::resize_file(state(), size - 4096);
  EXPECT_TRUE(refused(verify(), 1, {state(), std::to_string(size)}));
  std::filesystem::resize_file(state(), size);
  // What was cut off came back as zeros.
  EXPECT_EQ(verify().code, 1);
}

TEST_F(Damage, StopsResumeAndExportBeforeTheyLeaveAnything) {
  Training broken{.model = small_model(), .steps = 1};
  ASSERT_TRUE(succeeded(fathom(broken.arguments())));
  const std::string file = step_directory(broken.out) + "/state-0.bin";
  const json extents = json::parse(fathom({"inspect", broken.out, "--json"}).out).at("extents");
  flip(file, extents.back().at("offset").get<std::uint64_t>() + 7);  // head, v
  const auto before = files_in(broken.out);
  broken.steps = 2;
  broken.more = {"--resume"};
  EXPECT_TRUE(refused(fathom(broken.arguments()), 1, {file, "unit head", "section v"}));
  EXPECT_TRUE(files_in(broken.out) == before);
  EXPECT_TRUE(files_in(broken.nvme).empty());

  flip(file, extents.front().at("offset").get<std::uint64_t>() + 7);  // embedding, W
  const std::string directory = new_scratch_name("export");
  EXPECT_TRUE(refused(fathom({"export", broken.out, directory}), 1,
                      {file, "unit embed_tokens", "section W"}));
  EXPECT_TRUE(files_in(directory).empty());
  const Outcome found = fathom({"inspect", broken.out, "--verify", "--json"});
  EXPECT_EQ(found.code, 1);
  EXPECT_EQ(json::parse(found.out).at("damage").size(), 2U);
}

}  // namespace
}  // namespace fathom::tools
