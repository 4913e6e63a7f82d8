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

  struct Place {
    std::string file;
    std::uint64_t offset;
  };
  // `says` on stderr, and exit code 1, while one bit at each place is flipped.
  void expect_found(const std::vector<Place>& places, const std::vector<std::string>& says) {
    for (const Place& place : places) flip(place.file, place.offset);
    const Outcome found = verify();
    for (const Place& place : places) flip(place.file, place.offset);
    EXPECT_EQ(found.code, 1) << places[0].file << " at " << places[0].offset;
    for (const std::string& text : says)
      EXPECT_NE(found.err.find(text), std::string::npos) << text << " not in " << found.err;
  }
  // How a message names damage in an extent.
  std::string message(const json& extent, const std::string& what, std::uint64_t offset) const {
    return state() + ": unit " + extent.at("unit").get<std::string>() + ", section " +
           extent.at("section").get<std::string>() + ", " + what + " at offset " +
           std::to_string(offset);
  }
  std::string in_section(const json& extent) const {
    return message(extent, std::to_string(extent.at("bytes").get<std::uint64_t>()) + " bytes",
                   extent.at("offset"));
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
  // One alone, then one in each extent at once: first bytes, last bytes, bytes between.
  expect_found({{state(), extents[9].at("offset").get<std::uint64_t>() + 77}},
               {in_section(extents[9])});
  std::vector<Place> places;
  std::vector<std::string> says;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const std::uint64_t offset = extents[i].at("offset"), bytes = extents[i].at("bytes");
    places.push_back({state(), offset + (i % 3 == 0 ? bytes - 1 : i * bytes / extents.size())});
    says.push_back(in_section(extents[i]));
  }
  expect_found(places, says);
}

TEST_F(Damage, InThePaddingIsFoundToo) {
  const json extents = json::parse(fathom({"inspect", run_->out, "--json"}).out).at("extents");
  std::vector<Place> places;
  std::vector<std::string> says;
  for (const json& extent : extents) {
    const std::uint64_t end =
        extent.at("offset").get<std::uint64_t>() + extent.at("bytes").get<std::uint64_t>();
    if (end % 4096 == 0) continue;
    places.push_back(
        {state(), extent == extents.back() ? end | 4095U : end});  // the file's last byte
    says.push_back(message(extent, "the padding", places.back().offset));
  }
  EXPECT_GE(places.size(), 2U);
  EXPECT_EQ(places.back().offset + 1, std::filesystem::file_size(state()));
  expect_found(places, says);
}

TEST_F(Damage, InTheManifestIsFoundWhereverItIs) {
  const std::uint64_t size = std::filesystem::file_size(manifest());
  for (const std::uint64_t at : {size / 3, size - 10, size - 1})
    expect_found({{manifest(), at}}, {manifest(), "changed or damaged"});
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
