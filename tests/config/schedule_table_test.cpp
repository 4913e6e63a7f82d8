// SPDX-License-Identifier: Apache-2.0
//
// Every schedule, from its configuration to the rate of each update, against a table that
// schedule_table.py worked out from the published formulas.
#include <cmath>
#include <fstream>
#include <set>

#include <nlohmann/json.hpp>

#include "config/schedule.hpp"
#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

using nlohmann::json;

json table() {
  std::ifstream file(std::string(FATHOM_SOURCE_ROOT) + "/tests/config/schedule_table.json");
  return json::parse(file);
}

// What a row of the table asks for.
Config configuration_of(const json& row, double lr) {
  json text = {{"train_batch_size", 1},
               {"optimizer", {{"type", "AdamW"}, {"params", {{"lr", lr}}}}}};
  Sources sources;
  if (row.contains("scheduler")) {
    text["scheduler"] = row["scheduler"];
  } else {
    sources.flags.lr_scheduler_type = row["flag"].get<std::string>();
    sources.flags.warmup_steps = row["warmup_steps"].get<std::uint64_t>();
    sources.total_steps = row["total_steps"].get<std::uint64_t>();
  }
  return must_load(text.dump(), sources).config;
}

// A few roundings of numbers of this size; zero where a cosine's last bits decide.
void expect_close(double got, double want, double scale, std::size_t update) {
  EXPECT_NEAR(got, want, 4e-15 * scale + 4e-15 * std::fabs(want)) << "update " << update;
}

TEST(ScheduleTable, HoldsForEveryUpdateOfEverySchedule) {
  const json all = table();
  const double lr = all["lr"];
  std::set<SchedulerType> seen;
  for (const json& row : all["schedules"]) {
    SCOPED_TRACE(row.contains("scheduler") ? row["scheduler"].dump() : row["flag"].dump());
    const Config config = configuration_of(row, lr);
    const LearningRate schedule(config.scheduler, config.optimizer.lr);
    seen.insert(config.scheduler.type);
    for (std::size_t update = 0; update < row["rates"].size(); ++update) {
      expect_close(schedule.of_update(update), row["rates"][update], lr, update);
      const auto betas = schedule.betas_at(static_cast<std::int64_t>(update) - 1);
      ASSERT_EQ(betas.has_value(), row.contains("momenta"));
      if (!betas) continue;
      expect_close(betas->first, row["momenta"][update], 1, update);
      EXPECT_EQ(betas->second, 0.99);
    }
  }
  EXPECT_EQ(seen.size(), 11U) << "every type has rows";
}

TEST(OneCycle, LeavesTheBetasAloneWhenMomentumDoesNotCycle) {
  const Config config = must_load(with_batch(R"("scheduler": {"type": "OneCycle", "params":
      {"cycle_min_lr": 1e-3, "cycle_max_lr": 1e-2, "cycle_momentum": false}})"))
                            .config;
  EXPECT_FALSE(LearningRate(config.scheduler, 1).betas_at(5));
}

TEST(OneCycle, ADecayOfTheMomentumNeverReachesOne) {
  const Config config =
      must_load(with_batch(R"("scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": 1e-3,
      "cycle_max_lr": 1e-2, "cycle_first_step_size": 2, "decay_step_size": 1, "decay_mom_rate": 1}})"))
          .config;
  EXPECT_LT(LearningRate(config.scheduler, 1).betas_at(1000)->first, 1);
}

TEST(OneCycle, TakesListsThatAreTheSameForEveryGroup) {
  const Config config = must_load(with_batch(R"("scheduler": {"type": "OneCycle", "params":
      {"cycle_min_lr": [1e-3, 1e-3], "cycle_max_lr": [1e-2], "cycle_min_mom": [0.5, 0.5]}})"))
                            .config;
  EXPECT_EQ(config.scheduler.cycle_min_lr, 1e-3);
  EXPECT_EQ(config.scheduler.cycle_max_lr, 1e-2);
  EXPECT_EQ(config.scheduler.cycle_min_mom, 0.5);
  EXPECT_SAYS(problems_of(with_batch(R"("scheduler": {"type": "OneCycle", "params":
      {"cycle_min_lr": [1e-3, 2e-3], "cycle_max_lr": 1e-2}})")),
              "cycle_min_lr[1]");
}

TEST(OneCycle, NeedsBothRates) {
  EXPECT_SAYS(problems_of(with_batch(
                  R"("scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": 1e-3}})")),
              "scheduler.params.cycle_max_lr");
}

TEST(OneCycle, SaysWhenAnOptimizerHasNoMomentumToCycle) {
  const Loaded loaded = must_load(with_batch(R"("optimizer": {"type": "Adagrad"},
      "scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": 1e-3, "cycle_max_lr": 1e-2}})"));
  EXPECT_TRUE(any_says(loaded.notes, "cycle_momentum")) << joined(loaded.notes);
}

}  // namespace
}  // namespace fathom::config
