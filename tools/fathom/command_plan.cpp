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
      ->check(whole_number(1));
  // Accepted so that a train command line can be planned as it is.
  const char* unused = "as in train; nothing is written";
  app.add_option("--out", options->out, unused);
  app.add_option("--metrics", options->metrics, unused);
  app.add_option("--report", options->report, unused);
  app.add_option("--trace", options->trace, unused);
  app.add_flag("--resume", options->resume, "as in train; the plan is the same");
  app.add_flag("--quiet", options->quiet, "as in train");
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
