// SPDX-License-Identifier: Apache-2.0
#include "commands.hpp"
#include "engine/plan/render.hpp"
#include "engine/run.hpp"
#include "options.hpp"

namespace fathom::tools {

Command add_plan(CLI::App& app) {
  const auto options = std::make_shared<engine::TrainOptions>();
  const auto json = std::make_shared<bool>(false);
  add_run_flags(app, *options);
  add_training_flags(app, *options);
  app.add_option("--world-size", options->world_size, "plan for this many ranks")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  // Accepted so that a train command line can be planned as it is.
  app.add_option("--out", options->out, "as in train; nothing is written");
  app.add_flag("--json", *json, "one JSON document on stdout");
  return [options, json]() -> Result<int> {
    FATHOM_ASSIGN(const engine::TrainingSetup setup,
                  engine::prepare_training(*options, /*need_data=*/false));
    FATHOM_CHECK(*json ? print_json(engine::plan_json(setup.plan, setup.shortfalls))
                       : print_text(engine::plan_text(setup.plan, setup.shortfalls)));
    return exit_ok;
  };
}

}  // namespace fathom::tools
