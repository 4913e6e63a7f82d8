// SPDX-License-Identifier: Apache-2.0
//
// Gradients of the whole engine against those of another implementation (../shared/models).
#include <cmath>
#include <cstdlib>
#include <map>

#include <gtest/gtest.h>

#include "models/hf_config.hpp"
#include "training_fixture.hpp"

namespace fathom::engine {
namespace {

using namespace testing_runs;

std::filesystem::path shared_models() {
  if (const char* shared = std::getenv("FATHOM_SHARED"))
    return std::filesystem::path(shared) / "models";
  const char* root = std::getenv("FATHOM_SOURCE_ROOT");
  return std::filesystem::path(root != nullptr ? root : ".") / "../shared/models";
}

std::vector<float> read_floats(const models::SafetensorsReader& reader, const std::string& name) {
  const auto tensor = reader.require(name);
  EXPECT_TRUE(tensor) << name;
  std::vector<float> values((*tensor)->elements());
  EXPECT_TRUE(reader.read(**tensor, 0, std::as_writable_bytes(std::span(values))));
  return values;
}

at::Tensor read_row(const models::SafetensorsReader& reader, const std::string& name,
                    std::int64_t first, std::int64_t count) {
  const auto tensor = reader.require(name);
  std::vector<std::int64_t> ids((*tensor)->elements());
  EXPECT_TRUE(reader.read(**tensor, 0, std::as_writable_bytes(std::span(ids))));
  at::Tensor row = at::empty({1, count}, at::TensorOptions().dtype(c10::ScalarType::Long));
  std::copy_n(ids.begin() + first, count, static_cast<std::int64_t*>(row.data_ptr()));
  return row;
}

// Row 0 of the expected input: 23 tokens and what follows each, or a source and its labels.
MicroBatch first_row(const models::SafetensorsReader& expected, bool pairs) {
  const std::int64_t length = (*expected.require("input_ids"))->shape[1];
  if (!pairs)
    return {read_row(expected, "input_ids", 0, length - 1),
            read_row(expected, "input_ids", 1, length - 1)};
  const std::int64_t target = (*expected.require("labels"))->shape[1];
  return {read_row(expected, "input_ids", 0, length), read_row(expected, "labels", 0, target),
          read_row(expected, "attention_mask", 0, length),
          read_row(expected, "decoder_input_ids", 0, target)};
}

class Parity : public ::testing::TestWithParam<const char*> {};

TEST_P(Parity, LossAndGradientsThroughTheEngine) {
  const std::filesystem::path directory = shared_models() / GetParam();
  if (!std::filesystem::exists(directory / "expected.safetensors"))
    GTEST_SKIP() << "no " << directory.string();
  const auto expected = models::SafetensorsReader::open(directory / "expected.safetensors");
  const auto weights = models::SafetensorsReader::open(directory);
  ASSERT_TRUE(expected && weights);
  Job job;
  job.spec = *models::load_config(directory);
  job.fp32 = true;
  job.clipping = 0;
  job.micro_batch = job.accumulation = 1;
  const bool pairs = job.spec.encoder_decoder;
  const MicroBatch batch = first_row(*expected, pairs);
  job.length = static_cast<std::uint64_t>(batch.input_ids.size(1));
  if (pairs) job.target_length = static_cast<std::uint64_t>(batch.targets.size(1));
  const auto source = safetensors_source(*weights, job.spec);
  ASSERT_TRUE(source) << source.error().message();
  const ScratchDirectory scratch;
  // On disk as far as it goes: loading, landing and reducing are all in the path.
  TrainingRun run(job, {.host_memory = smallest_memory(job)}, scratch.path(), *source);
  ASSERT_FALSE(run.error()) << run.error()->message();
  std::map<std::string, std::vector<float>> gradients;
  run.executor().observe_gradients(
      [&](std::uint32_t unit, const std::byte* gradient, std::uint64_t) {
        const auto* values = reinterpret_cast<const float*>(gradient);
        const models::UnitSpec& spec = run.plan().input.model.units[unit];
        for (std::size_t p = 0; p < spec.parameters.size(); ++p) {
          const auto* begin = values + run.plan().units[unit].flat.offsets[p];
          gradients[spec.parameters[p].name].assign(begin, begin + spec.parameters[p].elements());
        }
      });
  const auto result = run.executor().step({batch}, 0, false);
  ASSERT_TRUE(result) << result.error().message();
  const float loss = read_floats(*expected, "loss")[0];
  EXPECT_NEAR(result->loss, loss, 1e-5 * loss);
  int compared = 0;
  for (const models::TensorInfo& tensor : expected->tensors()) {
    if (!tensor.name.starts_with("grad.")) continue;
    const std::vector<float> wanted = read_floats(*expected, tensor.name);
    // A file without the family's prefix names its gradients so too.
    const std::string name = tensor.name.substr(5);
    const std::vector<float>& got =
        gradients.contains(name) ? gradients[name] : gradients[job.spec.optional_prefix + name];
    ASSERT_EQ(got.size(), wanted.size()) << tensor.name;
    float largest = 0, worst = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      largest = std::max(largest, std::abs(wanted[i]));
      worst = std::max(worst, std::abs(wanted[i] - got[i]));
    }
    EXPECT_LE(worst, 5e-5F * largest) << tensor.name;
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, Parity,
                         ::testing::Values("tiny-random/llama", "tiny-random/llama-sharded",
                                           "tiny-random/qwen3", "tiny-random/mixtral",
                                           "tiny-random/gpt2", "tiny-random/gpt2-hub",
                                           "tiny-random/opt", "tiny-random/t5",
                                           "tiny-random/t5-gated", "tinystories-260k"),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name)
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace fathom::engine
