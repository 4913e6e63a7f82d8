// SPDX-License-Identifier: Apache-2.0
//
// What a plan means over time: seconds, hiding, wear, and what would help.
#include "engine/plan/outlook.hpp"

#include <cmath>
#include <functional>
#include <set>

#include <gtest/gtest.h>

#include "engine/model_specs.hpp"
#include "engine/plan/outlook_render.hpp"
#include "engine/plan/render.hpp"
#include "engine/plan/simulator.hpp"

namespace fathom::engine {
namespace {

using testing_specs::llama_spec;

// Streams most of its states: a disk that is slow beside the CPU.
PlanInput io_bound() {
  PlanInput input;
  input.model = llama_spec(8, 512, 4000, false);
  input.micro_batch = 2;
  input.length = 64;
  input.rates = {.read = 1e9, .write = 8e8, .duplex = 0.2, .flops = 1e13};
  PlanInput least = input;
  least.host_memory.reset();
  input.host_memory = make_plan(least)->smallest_host_memory + 4 * MiB;
  return input;
}

Plan planned(const PlanInput& input) {
  auto plan = make_plan(input);
  EXPECT_TRUE(plan) << (plan ? "" : plan.error().message());
  return std::move(*plan);
}

TEST(Outlook, TokensThatHideTheDiskEqualThePublishedTable) {
  struct Case {
    double read, write, flops;
    double tokens[6];
  };
  // Read and written bytes per parameter of 38N, 32N, 26N, 20N, 12N, 6N.
  const double moved[6][2] = {{20, 18}, {16, 16}, {14, 12}, {10, 10}, {6, 6}, {3, 3}};
  const Case cases[] = {
      {7e9, 6e9, 100e12, {73e3, 62e3, 50e3, 39e3, 23e3, 12e3}},
      {6.9e9, 5.3e9, 1600e12, {1259e3, 1068e3, 859e3, 667e3, 400e3, 200e3}},
      {27e9, 11e9, 500e12, {149e3, 128e3, 101e3, 80e3, 48e3, 24e3}},
      {48e9, 26e9, 500e12, {69e3, 59e3, 47e3, 37e3, 22e3, 11e3}},
      {48e9, 26e9, 4000e12, {554e3, 474e3, 377e3, 296e3, 178e3, 89e3}},
  };
  for (const Case& c : cases)
    for (std::size_t i = 0; i < 6; ++i)
      for (const double n : {1e9, 70e9}) {
        const double io = nvme_seconds(moved[i][0] * n, moved[i][1] * n,
                                       {.read = c.read, .write = c.write, .duplex = 0});
        EXPECT_EQ(std::round(tokens_to_hide(io, 0, 8 * n / c.flops) / 1e3), c.tokens[i] / 1e3)
            << c.read << " " << i;
      }
}

TEST(Outlook, TheDiskTakesTheLongerDirectionOrTheSharedSum) {
  const Rates half{.read = 2, .write = 1, .duplex = 0}, full{.read = 2, .write = 1, .duplex = 1};
  EXPECT_DOUBLE_EQ(nvme_seconds(4, 3, half), 5);
  EXPECT_DOUBLE_EQ(nvme_seconds(4, 3, full), 3);
  EXPECT_DOUBLE_EQ(nvme_seconds(0, 3, half), 3);
}

TEST(Outlook, ResourcesAddUpToTheProgram) {
  const Plan plan = planned(io_bound());
  const Outlook outlook = look_ahead(plan);
  std::uint64_t operations = 0;
  for (const ResourceUse& use : outlook.resources) {
    operations += use.operations;
    EXPECT_EQ(use.bytes, plan.steady.bytes(use.resource)) << to_string(use.resource);
    EXPECT_LE(use.seconds, plan.prediction.seconds * (1 + 1e-9)) << "no resource is busier";
    EXPECT_LE(use.compute + use.update, use.seconds * (1 + 1e-9));
  }
  EXPECT_EQ(operations, plan.steady.ops.size());
  EXPECT_DOUBLE_EQ(outlook.tokens_per_second, 2 * 64 / plan.prediction.seconds);
  EXPECT_GT(outlook.io_seconds, 0);
}

TEST(Outlook, AtTheTokensThatHideTheDiskItNoLongerBinds) {
  PlanInput input = io_bound();
  const Plan plan = planned(input);
  const double tokens = look_ahead(plan).tokens_to_hide_io;
  ASSERT_GT(tokens, 2 * tokens_per_step(input)) << "the case is bound by the disk";
  EXPECT_EQ(plan.prediction.bound_by, "nvme");
  // The same placement with that many tokens: compute takes as long as the disk.
  double cpu = 0;
  for (Op op : plan.steady.ops) {
    op.flops *= tokens / tokens_per_step(input);
    if (op.resource == Resource::cpu) cpu += op_seconds(op, input.rates);
  }
  EXPECT_NEAR(cpu, look_ahead(plan).io_seconds, 1e-9 * cpu);
}

TEST(Outlook, WithoutADiskThereIsNothingToHideAndNothingWears) {
  PlanInput input = io_bound();
  input.host_memory.reset();
  const Plan plan = planned(input);
  const Outlook outlook = look_ahead(plan);
  EXPECT_EQ(outlook.io_seconds, 0);
  EXPECT_EQ(outlook.tokens_to_hide_io, 0);
  EXPECT_EQ(outlook.written_per_step, 0U);
  EXPECT_FALSE(wear(plan, outlook, 600e12, 10).days);
  for (const Advice& advice : advise(plan))
    EXPECT_TRUE(advice.change == "batch" || advice.change == "clipping") << advice.change;
}

TEST(Outlook, WearFollowsFromBytesADay) {
  PlanInput input = io_bound();
  const Plan plan = planned(input);
  const Outlook outlook = look_ahead(plan);
  EXPECT_EQ(outlook.written_per_step, plan.prediction.bytes.nvme_write);
  EXPECT_NEAR(
      outlook.written_per_day,
      static_cast<double>(plan.prediction.bytes.nvme_write) * 86400 / plan.prediction.seconds, 1);
  const Wear one = wear(plan, outlook, 1e15, 1000);
  EXPECT_NEAR(*one.days * outlook.written_per_day, 1e15, 1e6);
  EXPECT_NEAR(one.of_run, 1000 * static_cast<double>(outlook.written_per_step) / 1e15, 1e-12);
  // Three paths, one of which takes half of the bytes: it is the one that ends first.
  input.path_weights = {1, 1, 2};
  const Plan striped = planned(input);
  const Wear three = wear(striped, outlook, 1e15, 1000);
  EXPECT_DOUBLE_EQ(three.busiest_share, 0.5);
  EXPECT_NEAR(*three.days, 2 * *one.days, 1e-6 * *one.days);
}

TEST(Advice, IsWhatPlanningAgainPredictsBestFirst) {
  const PlanInput input = io_bound();
  const Plan plan = planned(input);
  const std::vector<Advice> help = advise(plan);
  std::set<std::string> changes;
  double before = 1e9;
  for (const Advice& advice : help) {
    changes.insert(advice.change);
    EXPECT_LE(advice.gain, before) << "ranked";
    before = advice.gain;
    PlanInput changed = input;
    if (advice.change == "host_memory") {
      changed.host_memory = static_cast<std::uint64_t>(advice.to);
    } else if (advice.change == "nvme_path") {
      changed.rates.read *= 2;
      changed.rates.write *= 2;
      changed.path_weights = {1, 1};
    } else if (advice.change == "batch") {
      EXPECT_EQ(advice.to, 2 * advice.from);
      changed.accumulation *= 2;
    } else if (advice.change == "clipping") {
      changed.lazy = false;
    }
    const Plan again = planned(changed);
    EXPECT_DOUBLE_EQ(advice.step_seconds, again.prediction.seconds) << advice.change;
    EXPECT_DOUBLE_EQ(advice.tokens_per_second, tokens_per_step(changed) / again.prediction.seconds);
    EXPECT_NEAR(advice.gain,
                advice.tokens_per_second * plan.prediction.seconds / tokens_per_step(input) - 1,
                1e-9);
  }
  EXPECT_EQ(changes, (std::set<std::string>{"host_memory", "nvme_path", "batch", "clipping"}));
  EXPECT_GT(help.front().gain, 0.3) << "a plan that the disk binds can be helped";
}

TEST(Advice, NeverOffersMoreMemoryThanEverythingNeeds) {
  PlanInput input = io_bound();
  PlanInput all = input;
  all.host_memory.reset();
  const std::uint64_t whole = planned(all).prediction.peak_host;
  input.host_memory = whole - 4 * MiB;
  for (const Advice& advice : advise(planned(input)))
    if (advice.change == "host_memory") {
      EXPECT_EQ(advice.to, static_cast<double>(whole));
      EXPECT_NE(advice.sentence.find("holds everything"), std::string::npos);
    }
}

TEST(Advice, LeavesOutWhatDoesNotFitAndWhatIsSoAlready) {
  PlanInput input = io_bound();
  input.lazy = false;
  input.host_memory.reset();
  input.host_memory = planned(input).smallest_host_memory;
  for (const Advice& advice : advise(planned(input))) {
    EXPECT_NE(advice.change, "clipping") << "it is off";
    EXPECT_NE(advice.change, "batch") << "its block inputs exceed the budget";
  }
  PlanInput fp16 = io_bound();
  fp16.compute = ComputeType::fp16;
  for (const Advice& advice : advise(planned(fp16)))
    EXPECT_NE(advice.change, "clipping") << "an overflow is known at the end only";
}

// Every key of a document at any depth.
void each_key(const nlohmann::json& value, const std::function<void(const std::string&)>& visit) {
  if (value.is_object())
    for (const auto& [key, inner] : value.items()) {
      visit(key);
      each_key(inner, visit);
    }
  if (value.is_array())
    for (const nlohmann::json& inner : value) each_key(inner, visit);
}

TEST(Forecast, JsonAddsItsKeysAndHidesNoneOfThePlans) {
  const Plan plan = planned(io_bound());
  nlohmann::json json = plan_json(plan, {});
  const nlohmann::json before = json;
  add_forecast(json, plan, forecast(plan, 600e12, 1000));
  for (const auto& [key, value] : before.items()) EXPECT_EQ(json.at(key), value) << key;
  nlohmann::json added = json;
  for (const auto& [key, value] : before.items()) added.erase(key);
  std::set<std::string> names;
  for (const auto& [key, value] : added.items()) names.insert(key);
  EXPECT_EQ(names, (std::set<std::string>{"tokens_per_second", "resources", "io_seconds",
                                          "tokens_to_hide_io", "written", "help"}));
  // A program that searches for these at any depth finds the plan's.
  each_key(added, [](const std::string& key) {
    for (const char* promised :
         {"parameters", "seconds", "lower_bound_seconds", "bytes", "peak", "shortfalls"})
      EXPECT_NE(key, promised);
  });
  EXPECT_EQ(json["resources"]["nvme-read"]["moved_bytes"], plan.prediction.bytes.nvme_read);
  EXPECT_GT(json["written"]["tbw_days"].get<double>(), 0);
  EXPECT_EQ(json["help"].size(), 4U);
}

TEST(Forecast, TextSaysEachInWords) {
  const Plan plan = planned(io_bound());
  const std::string text = forecast_text(plan, forecast(plan, 600e12, 1000));
  for (const char* part : {"resource", "nvme-read", "nvme-write", "cpu", "hiding", "tokens a step",
                           "a day", "600 TB", "1000 steps use", "tokens/s", "fathom.host_memory",
                           "nvme paths instead of", "gradient_accumulation_steps 2 instead of 1"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  const std::string without = forecast_text(plan, forecast(plan, {}, 0));
  EXPECT_EQ(without.find("endurance"), std::string::npos) << "no rating was given";
}

}  // namespace
}  // namespace fathom::engine
