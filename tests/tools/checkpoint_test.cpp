// SPDX-License-Identifier: Apache-2.0
//
// export and what it is good for: the same numbers in a directory that others read.
#include <cmath>
#include <cstring>
#include <filesystem>

#include <unistd.h>

#include "program.hpp"

namespace fathom::tools {
namespace {

namespace fs = std::filesystem;

// Four windows of 32 predictions, so that every step of a batch of four sees the same tokens.
Training one_batch(bool bf16) {
  Training run{.model = small_model(), .steps = 3};
  run.data = scratch_file("batch.txt", read_file(words()).substr(0, 4 * 33));
  if (!bf16) run.config.erase("bf16");
  return run;
}

// Loss of the step after the run's last, which sees the weights that the run ended with.
// It runs in a copy.
double next_loss(Training run) {
  const std::string copy = new_scratch_name("out");
  fs::copy(run.out, copy, fs::copy_options::recursive);
  run.out = copy;
  run.steps += 1;
  run.more = {"--resume"};
  EXPECT_TRUE(succeeded(fathom(run.arguments())));
  return json_lines(read_file(run.metrics())).back().at("loss");
}

json evaluated(const std::string& model, const Training& run, const std::string& dtype) {
  const Outcome done = fathom(Arguments{"eval", "--json", "--model", model, "--data", run.data,
                                        "--seq-len", std::to_string(run.length), "--dtype", dtype} +
                              fixed_rates());
  EXPECT_TRUE(succeeded(done));
  return json::parse(done.out, nullptr, false);
}

template <class T>
std::vector<T> values(std::string_view bytes) {
  std::vector<T> list(bytes.size() / sizeof(T));
  std::memcpy(list.data(), bytes.data(), list.size() * sizeof(T));
  return list;
}

double from_fp16(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double size =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return bits >> 15 != 0 ? -size : size;
}

class Export : public testing::Test {
 protected:
  // A bf16 run, made once, and what the parts of its state say.
  static void SetUpTestSuite() {
    run_ = new Training(one_batch(true));
    ASSERT_TRUE(succeeded(fathom(run_->arguments())));
  }
  static void TearDownTestSuite() { delete run_; }

  // The fp32 master and bf16 weight of a parameter, joined from the state file: the documented
  // format.
  struct Parts {
    std::vector<float> master;
    std::vector<std::uint16_t> weight;
  };
  static std::map<std::string, Parts> parts() {
    const json manifest = manifest_of(run_->out);
    const auto state = state_of(run_->out);
    std::map<std::string, Parts> all;
    for (std::size_t u = 0; u < manifest.at("units").size(); ++u) {
      const std::string unit = manifest.at("units")[u].at("name");
      const auto high = values<std::uint16_t>(state.at(unit + "/W")),
                 low = values<std::uint16_t>(state.at(unit + "/lo"));
      for (const json& parameter : manifest.at("units")[u].at("parameters")) {
        std::uint64_t count = 1;
        for (const std::uint64_t size : parameter.at("shape")) count *= size;
        Parts& made = all[parameter.at("name")];
        const std::uint64_t first = parameter.at("offset");
        for (std::uint64_t i = first; i < first + count; ++i) {
          // hi = W - (lo >> 15), x = hi << 16 | lo
          const std::uint32_t upper = (high[i] - (low[i] >> 15)) & 0xffffU;
          const std::uint32_t bits = upper << 16 | low[i];
          float value = 0;
          std::memcpy(&value, &bits, sizeof value);
          made.master.push_back(value);
          made.weight.push_back(high[i]);
        }
      }
    }
    return all;
  }
  // The run's export in a type; the directory.
  static const std::string& in(const std::string& dtype) {
    static std::map<std::string, std::string> made;
    if (!made.contains(dtype)) made[dtype] = exported(run_->out, {"--dtype", dtype});
    return made[dtype];
  }
  static Training* run_;
};
Training* Export::run_ = nullptr;

TEST_F(Export, WritesTheMasterInEachType) {
  const auto expected = parts();
  const auto fp32 = tensors_of(in("fp32")), bf16 = tensors_of(in("bf16")),
             fp16 = tensors_of(in("fp16"));
  ASSERT_EQ(fp32.size(), expected.size());
  ASSERT_EQ(bf16.size(), expected.size());
  ASSERT_EQ(fp16.size(), expected.size());
  for (const auto& [name, part] : expected) {
    EXPECT_EQ(values<float>(fp32.at(name)), part.master) << name;
    EXPECT_EQ(values<std::uint16_t>(bf16.at(name)), part.weight) << name;
    const auto halves = values<std::uint16_t>(fp16.at(name));
    ASSERT_EQ(halves.size(), part.master.size());
    for (std::size_t i = 0; i < halves.size(); ++i) {
      const double x = part.master[i];
      // Half a unit in the last place, of subnormals at the least.
      ASSERT_NEAR(from_fp16(halves[i]), x, std::max(std::abs(x) * 0x1p-11, 0x1p-25)) << name;
    }
  }
}

TEST_F(Export, SaysItsTypeAndSumsUp) {
  const std::string directory = new_scratch_name("export");
  const Outcome done = fathom({"export", run_->out, directory, "--dtype", "bf16", "--json"});
  ASSERT_TRUE(succeeded(done));
  const json summary = json::parse(done.out);
  EXPECT_EQ(summary.at("step"), 3);
  EXPECT_EQ(summary.at("dtype"), "bf16");
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors_of(directory)) bytes += tensor.size();
  EXPECT_EQ(summary.at("bytes"), bytes);
  const json config = json::parse(read_file(directory + "/config.json"));
  EXPECT_EQ(config.at("torch_dtype"), "bfloat16");
  EXPECT_EQ(config.at("hidden_size"), 64);
}

TEST_F(Export, InShardsHoldsTheSameTensors) {
  const auto whole = tensors_of(in("fp32"));
  const std::string directory = exported(run_->out, {"--max-shard-size", "100KB"});
  EXPECT_TRUE(tensors_of(directory) == whole);
  const json index = json::parse(read_file(directory + "/model.safetensors.index.json"));
  EXPECT_EQ(index.at("weight_map").size(), whole.size());
  std::uint64_t total = 0;
  std::size_t shards = 0;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() != ".safetensors") continue;
    ++shards;
    const std::uint64_t bytes = Safetensors::read(entry.path().string()).body.size();
    EXPECT_LE(bytes, 100'000U) << entry.path();
    total += bytes;
  }
  EXPECT_GT(shards, 4U);
  EXPECT_EQ(index.at("metadata").at("total_size"), total);
  for (const auto& [name, shard] : index.at("weight_map").items())
    EXPECT_TRUE(
        Safetensors::read(directory + "/" + shard.get<std::string>()).header.contains(name));
  EXPECT_NEAR(evaluated(directory, *run_, "fp32").at("loss").get<double>(),
              evaluated(in("fp32"), *run_, "fp32").at("loss").get<double>(), 1e-9);
}

TEST_F(Export, OfOneStepDirectoryIsTheSameHoweverItIsNamed) {
  const auto expected = files_in(in("fp32"));
  EXPECT_TRUE(files_in(exported(step_directory(run_->out) + "/")) == expected);
  const std::string directory = new_scratch_name("export"), here = run_->out;
  Launch inside;
  inside.before_exec = [&here] {
    if (::chdir(here.c_str()) != 0) ::_exit(126);
  };
  ASSERT_TRUE(succeeded(fathom({"export", "step-00000003", directory}, inside)));
  EXPECT_TRUE(files_in(directory) == expected);
}

TEST_F(Export, WithoutTheModelsConfigurationWritesNothing) {
  const std::string config = run_->out + "/config.json", text = read_file(config);
  fs::remove(config);
  const std::string directory = new_scratch_name("export");
  EXPECT_TRUE(refused(fathom({"export", run_->out, directory}), 1, {config, "No such file"}));
  EXPECT_TRUE(files_in(directory).empty());
  write_file(config, text);
}

TEST_F(Export, NeverReplacesWeights) {
  const std::string directory = in("bf16");
  const auto before = files_in(directory);
  EXPECT_TRUE(refused(fathom({"export", run_->out, directory}), 1, {directory, "already holds"}));
  EXPECT_TRUE(files_in(directory) == before);
}

TEST_F(Export, OfNothingOrInAnUnknownTypeIsRefused) {
  const std::string directory = new_scratch_name("export");
  EXPECT_TRUE(refused(fathom({"export", run_->nvme, directory}), 1, {run_->nvme, "--out"}));
  EXPECT_TRUE(refused(fathom({"export", run_->out, directory, "--dtype", "int8"}), 2,
                      {"int8", "fp32, bf16, fp16"}));
  EXPECT_TRUE(refused(fathom({"export", run_->out, directory, "--max-shard-size", "3frogs"}), 2,
                      {"--max-shard-size", "3frogs"}));
  EXPECT_FALSE(fs::exists(directory));
}

TEST_F(Export, ReloadsInEachTypeWithTheLossThatTrainingSees) {
  const double exact = evaluated(in("fp32"), *run_, "fp32").at("loss"),
               rounded = evaluated(in("bf16"), *run_, "fp32").at("loss"),
               half = evaluated(in("fp16"), *run_, "fp32").at("loss");
  EXPECT_NEAR(half, exact, 1e-4);
  EXPECT_NEAR(rounded, exact, 2e-2);
  // Training sees the bf16 weights; it computes in bf16 too where the processor is good at it.
  const json plan = json::parse(read_file(run_->out + "/report.json")).at("plan");
  EXPECT_NEAR(rounded, next_loss(*run_), plan.at("compute") == "bf16" ? 2e-2 : 1e-5);
}

TEST(ExportFp32, HasTheLossThatTrainingSees) {
  const Training run = one_batch(false);
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  const std::string directory = exported(run.out);
  const json result = evaluated(directory, run, "fp32");
  EXPECT_EQ(result.at("tokens"), 4 * 32);
  const double loss = result.at("loss"), seen = next_loss(run);
  EXPECT_NEAR(loss, seen, 1e-5);
  EXPECT_NEAR(result.at("perplexity").get<double>(), std::exp(loss), 1e-6 * std::exp(loss));
}

TEST(ExportFp32, OfABf16RunIsWhereANewRunGoesOn) {
  const Training run = one_batch(true);
  ASSERT_TRUE(succeeded(fathom(run.arguments())));
  Training fresh = run;
  fresh.model = exported(run.out);
  fresh.out = new_scratch_name("out");
  fresh.steps = 1;
  ASSERT_TRUE(succeeded(fathom(fresh.arguments())));
  // The same master gives the same bits, so the first loss is the one that the old run would see
  // next.
  EXPECT_EQ(json_lines(read_file(fresh.metrics())).front().at("loss").get<double>(),
            next_loss(run));
}

}  // namespace
}  // namespace fathom::tools
