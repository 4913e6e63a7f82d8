// SPDX-License-Identifier: Apache-2.0
//
// The classic memory estimate to the last printed digit, and Fathom's own rows by their identities.
#include "engine/plan/estimator.hpp"

#include <array>
#include <map>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/units.hpp"
#include "engine/model_specs.hpp"

namespace fathom::engine {
namespace {

using testing_specs::llama_spec;

constexpr std::uint64_t t0_parameters = 2'783'959'040, t0_layer = 65'798'144;

EstimateInput sized(std::uint64_t parameters, std::uint64_t layer, Setup setup) {
  return {.parameters = parameters, .largest_layer = layer, .largest_unit = layer, .setup = setup};
}

// "CPU / GPU" in GiB with two digits, as the classic tables print them.
std::vector<std::string> printed(const std::vector<ClassicRow>& rows) {
  std::vector<std::string> texts;
  for (const ClassicRow& row : rows)
    texts.push_back(fmt::format("{:.2f} / {:.2f}", static_cast<double>(row.per_cpu) / GiB,
                                static_cast<double>(row.per_gpu) / GiB));
  return texts;
}

using Texts = std::vector<std::string>;

TEST(Estimator, EqualsThePublishedValuesOfZero3) {
  EXPECT_EQ(printed(classic_zero3(sized(t0_parameters, t0_layer, {.gpus = 1, .nodes = 1}))),
            (Texts{"70.00 / 0.25", "70.00 / 0.25", "62.23 / 5.43", "62.23 / 5.43", "0.37 / 46.91",
                   "15.56 / 46.91"}));
  EXPECT_EQ(printed(classic_zero3(sized(t0_parameters, t0_layer, {.gpus = 2, .nodes = 1}))),
            (Texts{"70.00 / 0.25", "70.00 / 0.25", "62.23 / 2.84", "62.23 / 2.84", "0.74 / 23.58",
                   "31.11 / 23.58"}));
  EXPECT_EQ(printed(classic_zero3(sized(t0_parameters, t0_layer, {.gpus = 8, .nodes = 2}))),
            (Texts{"35.00 / 0.25", "124.45 / 0.25", "31.11 / 0.57", "124.45 / 0.57", "2.94 / 3.16",
                   "124.45 / 3.16"}));
  EXPECT_EQ(printed(classic_zero3(sized(2'851'000'000, 32'000'000, {.gpus = 8, .nodes = 1}))),
            (Texts{"71.69 / 0.12", "127.45 / 0.12", "63.72 / 0.78", "127.45 / 0.78", "1.43 / 6.09",
                   "127.45 / 6.09"}));
}

TEST(Estimator, EqualsThePublishedValuesOfZero2) {
  EXPECT_EQ(printed(classic_zero2(sized(t0_parameters, t0_layer, {.gpus = 1, .nodes = 1}))),
            (Texts{"62.23 / 5.19", "15.56 / 51.86"}));
  EXPECT_EQ(printed(classic_zero2(sized(t0_parameters, t0_layer, {.gpus = 2, .nodes = 1}))),
            (Texts{"62.23 / 5.19", "31.11 / 28.52"}));
  EXPECT_EQ(printed(classic_zero2(sized(2'851'000'000, 32'000'000, {.gpus = 8, .nodes = 1}))),
            (Texts{"127.45 / 5.31", "127.45 / 11.28"}));
}

TEST(Estimator, PrintsTheClassicTableInItsLayout) {
  const std::string text = estimate_text(sized(t0_parameters, t0_layer, {.gpus = 1, .nodes = 1}));
  const std::string table =
      "HW: Setup with 1 node, 1 GPU per node.\n"
      "SW: Model with 2783M total params, 65M largest layer params.\n"
      "  per CPU  |  per GPU |   Options\n"
      "   70.00GB |   0.25GB | offload_param=cpu , offload_optimizer=cpu , zero_init=1\n"
      "   70.00GB |   0.25GB | offload_param=cpu , offload_optimizer=cpu , zero_init=0\n"
      "   62.23GB |   5.43GB | offload_param=none, offload_optimizer=cpu , zero_init=1\n"
      "   62.23GB |   5.43GB | offload_param=none, offload_optimizer=cpu , zero_init=0\n"
      "    0.37GB |  46.91GB | offload_param=none, offload_optimizer=none, zero_init=1\n"
      "   15.56GB |  46.91GB | offload_param=none, offload_optimizer=none, zero_init=0\n";
  EXPECT_NE(text.find(table), std::string::npos) << text;
  EXPECT_NE(text.find("HW: Setup with 1 node, 1 GPU per node.\n"
                      "SW: Model with 2783M total params.\n"
                      "  per CPU  |  per GPU |   Options\n"
                      "   62.23GB |   5.19GB | offload_optimizer=cpu \n"
                      "   15.56GB |  51.86GB | offload_optimizer=none\n"),
            std::string::npos)
      << text;
  const std::string many = estimate_text(sized(t0_parameters, t0_layer, {.gpus = 8, .nodes = 2}));
  EXPECT_NE(many.find("HW: Setup with 2 nodes, 8 GPUs per node."), std::string::npos);
}

TEST(Estimator, TheLargestLayerIsWhatOneModuleHoldsItself) {
  // Embedding and head are 1000 × 64; up_proj of a layer is 160 × 64; no bias.
  EXPECT_EQ(largest_module_parameters(llama_spec(4, 64, 1000, false)), 64'000U);
  // A small vocabulary: the largest module is one projection of the MLP, not the whole layer.
  EXPECT_EQ(largest_module_parameters(llama_spec(4, 64, 16, true)), 160U * 64);
  // A weight and its bias are one module's.
  models::ModelSpec spec = llama_spec(1, 64, 16, true);
  for (models::UnitSpec& unit : spec.units)
    for (std::size_t i = 0; i < unit.parameters.size(); ++i)
      if (unit.parameters[i].name.ends_with("up_proj.weight")) {
        unit.parameters.push_back({"model.layers.0.mlp.up_proj.bias", {160}});
        break;
      }
  EXPECT_EQ(largest_module_parameters(spec), 160U * 64 + 160);
}

TEST(Estimator, AModelsSizesComeFromItsUnits) {
  const models::ModelSpec spec = llama_spec(4, 64, 1000, false);
  const EstimateInput input = estimate_input(spec, {.gpus = 2, .nodes = 3});
  EXPECT_EQ(input.parameters, spec.parameters());
  EXPECT_EQ(input.largest_layer, 64'000U);
  EXPECT_EQ(input.largest_unit, 64'000U + 64) << "the head and its norm are fetched together";
  EXPECT_EQ(input.setup.total(), 6U);
}

TEST(Estimator, FathomsRowsMove26BytesAParameterFromNvmeAnd20WithTheWeightsAboveIt) {
  const std::uint64_t n = 70'000'000'000;
  const auto rows = placements(sized(n, 200'000'000, {.gpus = 1, .nodes = 1}));
  std::map<std::pair<std::string, std::string>, PlacementRow> by;
  for (const PlacementRow& row : rows) by.insert({{row.weights, row.states}, row});
  EXPECT_EQ(by.size(), rows.size());

  const PlacementRow& all = by.at({"nvme", "nvme"});
  EXPECT_EQ(all.read, 14 * n);
  EXPECT_EQ(all.written, 12 * n);
  EXPECT_EQ(all.nvme, 12 * n);
  EXPECT_GE(all.pinned, 2 * n) << "gradients wait in host memory";
  EXPECT_LT(all.pinned, 2 * n + 2 * GiB);

  const PlacementRow& states = by.at({"cpu", "nvme"});
  EXPECT_EQ(states.read + states.written, 20 * n);
  EXPECT_EQ(states.nvme, 10 * n);
  EXPECT_GE(states.pinned, 4 * n);

  const PlacementRow& host = by.at({"cpu", "cpu"});
  EXPECT_EQ(host.read + host.written + host.nvme, 0U);
  EXPECT_EQ(host.pinned, 14 * n);

  const PlacementRow& device = by.at({"device", "device"});
  EXPECT_EQ(device.pinned + device.nvme + device.read + device.written, 0U);
  EXPECT_EQ(device.per_gpu, 14 * n + 12 * std::uint64_t{200'000'000});
}

TEST(Estimator, StatesAreSharedOutOverAllGpusAndNodes) {
  const std::uint64_t n = 64'000'000'000, unit = 128'000'000;
  const auto one = placements(sized(n, unit, {.gpus = 1, .nodes = 1}));
  const auto many = placements(sized(n, unit, {.gpus = 8, .nodes = 4}));
  ASSERT_EQ(one.size(), many.size());
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].nvme, 4 * many[i].nvme) << i;
    EXPECT_EQ(one[i].read, 4 * many[i].read) << i;
    EXPECT_EQ(one[i].written, 4 * many[i].written) << i;
    const std::uint64_t landing = 12 * unit;  // two landing slots and gradients of one unit: whole
    EXPECT_EQ(one[i].per_gpu - landing, 32 * (many[i].per_gpu - landing)) << i;
  }
}

TEST(Estimator, JsonHasEveryNumberOfGpus) {
  const nlohmann::json json =
      estimate_json(sized(t0_parameters, t0_layer, {.gpus = 3, .nodes = 2}));
  EXPECT_EQ(json.at("total_params"), t0_parameters);
  EXPECT_EQ(json.at("largest_layer_params"), t0_layer);
  ASSERT_EQ(json.at("setups").size(), 3U);
  for (std::uint32_t gpus = 1; gpus <= 3; ++gpus) {
    const nlohmann::json& setup = json.at("setups").at(gpus - 1);
    EXPECT_EQ(setup.at("gpus_per_node"), gpus);
    EXPECT_EQ(setup.at("nodes"), 2);
    const auto rows = classic_zero3(sized(t0_parameters, t0_layer, {.gpus = gpus, .nodes = 2}));
    ASSERT_EQ(setup.at("zero3").size(), rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(setup.at("zero3").at(i).at("per_cpu_bytes"), rows[i].per_cpu);
      EXPECT_EQ(setup.at("zero3").at(i).at("per_gpu_bytes"), rows[i].per_gpu);
    }
    EXPECT_EQ(setup.at("zero2").size(), 2U);
    EXPECT_EQ(setup.at("fathom").size(), 6U);
  }
}

}  // namespace
}  // namespace fathom::engine
