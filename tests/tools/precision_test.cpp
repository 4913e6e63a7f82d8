// SPDX-License-Identifier: Apache-2.0
//
// fp16 with its loss scale, and the optimizers, as the program shows them.
#include <algorithm>
#include <cmath>

#include "program.hpp"

namespace fathom::tools {
namespace {

Training fp16_run(const json& fp16) {
  Training run{.model = small_model(), .steps = 8};
  run.config.erase("bf16");
  run.config["fp16"] = fp16;
  run.config["fp16"]["enabled"] = true;
  run.config["scheduler"] = {{"type", "WarmupLR"},
                             {"params",
                              {{"warmup_min_lr", 0.001},
                               {"warmup_max_lr", 0.002},
                               {"warmup_type", "linear"},
                               {"warmup_num_steps", 4}}}};
  return run;
}

std::vector<json> train(const Training& run) {
  EXPECT_TRUE(succeeded(fathom(run.arguments())));
  return json_lines(read_file(run.metrics()));
}

TEST(Fp16, FindsItsLossScaleLeavesOverflowsOutAndKeepsTheSchedule) {
  const Training run = fp16_run({{"initial_scale_power", 40}, {"hysteresis", 1}});
  Training longer = run;
  longer.steps = 40;
  const std::vector<json> lines = train(longer);
  ASSERT_EQ(lines.size(), 40U);
  double scale = std::ldexp(1.0, 40);
  int updates = 0, skipped = 0;
  for (const json& line : lines) {
    EXPECT_EQ(line["loss_scale"], scale);
    // Applied updates 0 and 1 have the minimum, then a quarter of the way more each, to the end.
    const double share = std::min(1.0, std::max(0, updates - 1) / 4.0);
    EXPECT_NEAR(line["lr"].get<double>(), 0.001 + 0.001 * share, 1e-12);
    if (line["skipped"].get<bool>()) {
      scale /= 2;
      ++skipped;
    } else {
      ++updates;
    }
  }
  EXPECT_GT(skipped, 5) << "2^40 is far too much";
  EXPECT_GT(updates, 5);
  EXPECT_LT(lines.back()["loss"].get<double>(), lines.front()["loss"].get<double>());
  const json report = json::parse(read_file(longer.out + "/report.json"));
  EXPECT_EQ(report["skipped_steps"], skipped);
  EXPECT_EQ(report["loss_scale"], scale);
}

TEST(Fp16, ResumesWithTheLossScaleItHad) {
  Training whole = fp16_run({{"initial_scale_power", 40}, {"loss_scale_window", 3}});
  whole.steps = 30;
  const std::vector<json> wanted = train(whole);
  Training first = whole;
  first.out = new_scratch_name("out");
  first.steps = 17;
  train(first);
  first.steps = 30;
  first.more = {"--resume"};
  const std::vector<json> got = train(first);
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    for (const char* key : {"step", "loss", "lr", "loss_scale", "skipped"})
      EXPECT_EQ(got[i][key], wanted[i][key]) << key << " of step " << i + 1;
  EXPECT_TRUE(state_of(first.out) == state_of(whole.out));
}

TEST(Fp16, StopsWithAdviceWhenTheScaleCannotFall) {
  const Training run = fp16_run(
      {{"initial_scale_power", 40}, {"min_loss_scale", std::int64_t{1} << 40}, {"hysteresis", 1}});
  EXPECT_TRUE(refused(
      fathom(run.arguments()), 1,
      {"step 1", "overflows", "minimum", "use bf16 or fp32", "initial_scale_power cannot help"}));
}

TEST(Fp16, AStaticScaleStaysAndItsOverflowsEndTheRunInTime) {
  Training run = fp16_run({{"loss_scale", 256}});
  for (const json& line : train(run)) {
    EXPECT_EQ(line["loss_scale"], 256);
    EXPECT_FALSE(line["skipped"].get<bool>());
  }
  run = fp16_run({{"loss_scale", 1e12}});
  run.steps = 20;
  EXPECT_TRUE(refused(fathom(run.arguments()), 1, {"step 8", "8 steps in a row", "bf16"}));
}

TEST(Fp16, ExportsTheMaster) {
  const Training run = fp16_run(json::object());
  train(run);
  const std::string fp32 = exported(run.out, {"--dtype", "fp32"});
  const std::string fp16 = exported(run.out, {"--dtype", "fp16"});
  const auto loss = [&](const std::string& model) {
    const Outcome done = fathom(Arguments{"eval", "--json", "--model", model, "--data", run.data,
                                          "--seq-len", "32", "--dtype", "fp32"} +
                                fixed_rates());
    EXPECT_TRUE(succeeded(done));
    return json::parse(done.out).at("loss").get<double>();
  };
  const double whole = loss(fp32), half = loss(fp16);
  EXPECT_NE(whole, half) << "fp16 rounds";
  EXPECT_NEAR(whole, half, 1e-3);
}

TEST(Optimizer, OfAnotherKindCannotGoOnWithARunsStates) {
  Training run{.model = small_model(), .steps = 2};
  run.config["optimizer"] = {{"type", "Lion"}, {"params", {{"lr", 1e-3}}}};
  train(run);
  run.steps = 4;
  run.more = {"--resume"};
  run.config["optimizer"] = {{"type", "SGD"}, {"params", {{"lr", 1e-3}, {"momentum", 0.9}}}};
  EXPECT_TRUE(refused(fathom(run.arguments()), 2, {"Lion", "SGD"}));
  run.config["optimizer"] = {{"type", "AdamW"}, {"params", {{"lr", 1e-3}}}};
  EXPECT_TRUE(refused(fathom(run.arguments()), 2, {"Lion", "AdamW"}));
  run.config["optimizer"] = {{"type", "Lion"}, {"params", {{"lr", 5e-4}}}};
  EXPECT_TRUE(succeeded(fathom(run.arguments())));
}

TEST(Optimizer, MovesFewerBytesWithFewerStates) {
  std::map<std::string, std::uint64_t> moved;
  for (const json& optimizer :
       {json{{"type", "AdamW"}}, json{{"type", "Lion"}}, json{{"type", "SGD"}}}) {
    Training run;
    run.config["optimizer"] = optimizer;
    run.config["fathom"]["host_memory"] = smallest_host_memory(run);
    const json plan = plan_of(run);
    moved[optimizer["type"]] = plan["bytes"]["nvme_read"].get<std::uint64_t>() +
                               plan["bytes"]["nvme_write"].get<std::uint64_t>();
  }
  EXPECT_GT(moved["AdamW"], moved["Lion"]);
  EXPECT_GT(moved["Lion"], moved["SGD"]);
}

}  // namespace
}  // namespace fathom::tools
