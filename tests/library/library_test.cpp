// SPDX-License-Identifier: Apache-2.0
//
// The installed package as another project meets it: headers, libraries and fathom-engine.pc in a
// prefix of their own, examples/library built against them with make and run.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/tools/files.hpp"
#include "tests/tools/process.hpp"
#include "tests/tools/scratch.hpp"

namespace fathom::tools {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string in_shell(const std::string& command, const std::string& environment = "") {
  const Outcome done = run({"/bin/sh", "-c", environment + command});
  EXPECT_EQ(done.code, 0) << command << "\n" << done.out << done.err;
  return done.out;
}

// Installed once for all tests of the program.
class Installed : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const std::string stage = new_scratch_directory("stage");
    in_shell("meson install -C '" FATHOM_BUILD_ROOT
             "' --no-rebuild --quiet --tags devel --destdir '" +
             stage + "'");
    prefix_ = stage + FATHOM_PREFIX;
    // Installed for one place, staged in another: its packages say the former.
    for (const auto& entry : fs::recursive_directory_iterator(stage)) {
      if (entry.path().extension() != ".pc") continue;
      packages_ = entry.path().parent_path();
      std::string text = read_file(entry.path());
      text.replace(text.find(FATHOM_PREFIX), std::string(FATHOM_PREFIX).size(), prefix_);
      write_file(entry.path(), text);
    }
    examples_ = new_scratch_directory("examples");
    fs::copy(FATHOM_SOURCE_ROOT "/examples/library", examples_,
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    in_shell("make -C '" + examples_ + "' CXX='" FATHOM_CXX "' CXXFLAGS=-O0", environment());
  }
  static std::string environment() {
    return "PKG_CONFIG_PATH='" + packages_ + "'${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH} ";
  }
  static json config(const std::string& nvme) {
    const json offload = {{"device", "nvme"}, {"nvme_path", nvme}};
    return {{"train_batch_size", 4},
            {"gradient_accumulation_steps", 2},
            {"optimizer", {{"type", "AdamW"}, {"params", {{"lr", 1e-2}}}}},
            {"zero_optimization",
             {{"stage", 3}, {"offload_param", offload}, {"offload_optimizer", offload}}}};
  }
  static double number_after(const std::string& text, const std::string& words) {
    const std::size_t at = text.find(words);
    EXPECT_NE(at, std::string::npos) << words << " in " << text;
    return at == std::string::npos ? 0 : std::stod(text.substr(at + words.size()));
  }
  static inline std::string prefix_, packages_, examples_;
};

TEST_F(Installed, TheEnginesHeaderNeedsNoneOfLibTorch) {
  write_file(examples_ + "/seen.cpp", "#include <fathom/engine.hpp>\n");
  const std::string seen = in_shell(std::string(FATHOM_CXX) + " -std=c++23 -M '" + examples_ +
                                        "/seen.cpp' $(pkg-config --cflags fathom-engine)",
                                    "export " + environment() + "; ");
  EXPECT_NE(seen.find(prefix_ + "/include/fathom/engine.hpp"), std::string::npos) << seen;
  for (const char* broad : {"ATen", "c10/", "torch/"})
    EXPECT_EQ(seen.find(broad), std::string::npos) << broad;
}

TEST_F(Installed, AProgramTrainsEvaluatesSavesAndReads) {
  const std::string model = new_scratch_directory("model"), nvme = new_scratch_directory("nvme"),
                    out = new_scratch_name("out");
  write_file(model + "/config.json", json{{"model_type", "llama"},
                                          {"vocab_size", 256},
                                          {"hidden_size", 32},
                                          {"intermediate_size", 64},
                                          {"num_hidden_layers", 2},
                                          {"num_attention_heads", 4},
                                          {"max_position_embeddings", 64}}
                                         .dump());
  std::string text;
  for (int i = 0; i < 500; ++i) text += "the river runs over stones. ";
  write_file(examples_ + "/text.txt", text);
  const std::string said = in_shell("'" + examples_ + "/train' '" + model + "' '" + examples_ +
                                    "/text.txt' '" + config(nvme).dump() + "' '" + out + "'");
  EXPECT_LT(number_after(said, "held-out loss "), number_after(said, "step 1  loss ") - 1) << said;
  EXPECT_NE(said.find("step 20  "), std::string::npos) << said;
  EXPECT_NE(said.find("has 8192 elements"), std::string::npos) << said;
  EXPECT_TRUE(files_in(nvme).empty());

  // What it saved is what the programs read.
  const std::string fathom = FATHOM_PROGRAM;
  EXPECT_EQ(
      json::parse(in_shell("'" + fathom + "' inspect --json --verify '" + out + "'")).at("step"),
      20);
  in_shell("'" + fathom + "' export '" + out + "' '" + out + "/hf'");
}

TEST_F(Installed, AProgramsOwnBlocksAreTrainedReplacedAndResumed) {
  const std::string nvme = new_scratch_directory("nvme"), out = new_scratch_name("out");
  for (const char* precision : {"", "bf16"}) {
    json made = config(nvme);
    if (*precision != 0) made[precision] = {{"enabled", true}};
    const std::string said =
        in_shell("'" + examples_ + "/own_blocks' '" + made.dump() + "' '" + out + "'");
    const double learned = number_after(said, "-> ");
    EXPECT_LT(learned, number_after(said, "loss ") / 4) << said;
    EXPECT_GT(number_after(said, "without layers.0.up "), learned) << said;
    EXPECT_EQ(number_after(said, "with it again "), learned) << said;
    EXPECT_EQ(number_after(said, "step 100, loss "), learned) << said;
  }
}

}  // namespace
}  // namespace fathom::tools
