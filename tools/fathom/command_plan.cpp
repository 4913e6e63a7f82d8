// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include <CLI/CLI.hpp>

#include "commands.hpp"
#include "engine/plan/estimator.hpp"
#include "engine/plan/outlook_render.hpp"
#include "engine/plan/render.hpp"
#include "engine/run.hpp"
#include "models/hf_config.hpp"
#include "options.hpp"

namespace fathom::tools {
namespace {

struct PlanOptions {
  engine::TrainOptions train;
  bool json = false;
  std::optional<double> tbw;  // bytes
  bool estimate = false;
  engine::Setup setup;
  std::optional<double> parameters, largest_layer;
};

void add_estimate_flags(CLI::App& app, PlanOptions& options) {
  CLI::Option* estimate =
      app.add_flag("--estimate", options.estimate,
                   "memory that the states need, by the classic formulas and by Fathom's, from the "
                   "model's size alone");
  app.add_option("--gpus,--num-gpus-per-node,--num_gpus_per_node", options.setup.gpus,
                 "GPUs of a node, for --estimate")
      ->check(whole_number(1, 4096))
      ->needs(estimate);
  app.add_option("--nodes,--num-nodes,--num_nodes", options.setup.nodes, "nodes, for --estimate")
      ->check(whole_number(1, 1'000'000))
      ->needs(estimate);
  CLI::Option* parameters =
      app.add_option("--params", options.parameters,
                     "parameters in all, for --estimate without --model: 2851e6")
          ->check(real_number(1, false, 1e15))
          ->needs(estimate);
  CLI::Option* layer = app.add_option("--largest-layer", options.largest_layer,
                                      "parameters of the largest layer, with --params: 32e6")
                           ->check(real_number(1, false, 1e15))
                           ->needs(parameters);
  parameters->needs(layer);
}

Result<engine::EstimateInput> estimate_of(const PlanOptions& options) {
  if (options.parameters) {
    const auto layer = static_cast<std::uint64_t>(*options.largest_layer);
    return engine::EstimateInput{.parameters = static_cast<std::uint64_t>(*options.parameters),
                                 .largest_layer = layer,
                                 .largest_unit = layer,
                                 .setup = options.setup};
  }
  FATHOM_ASSIGN(const models::ModelSpec spec, models::load_config(options.train.model));
  return engine::estimate_input(spec, options.setup);
}

Result<int> estimate(const PlanOptions& options) {
  FATHOM_ASSIGN(const engine::EstimateInput input, estimate_of(options));
  FATHOM_CHECK(options.json ? print_json(engine::estimate_json(input))
                            : print_text(engine::estimate_text(input)));
  return exit_ok;
}

Result<int> plan(const PlanOptions& options) {
  FATHOM_ASSIGN(const engine::TrainingSetup setup,
                engine::prepare_training(options.train, engine::DataNeed::none));
  const engine::Forecast forecast =
      engine::forecast(setup.plan, options.tbw, options.train.flags.max_steps.value_or(0));
  if (options.json) {
    nlohmann::json document = engine::plan_json(setup.plan, setup.shortfalls);
    engine::add_forecast(document, setup.plan, forecast);
    FATHOM_CHECK(print_json(document));
  } else {
    FATHOM_CHECK(print_text(engine::plan_text(setup.plan, setup.shortfalls) +
                            engine::forecast_text(setup.plan, forecast)));
  }
  return exit_ok;
}

}  // namespace

Command add_plan(CLI::App& app) {
  const auto options = std::make_shared<PlanOptions>();
  add_run_flags(app, options->train);
  add_training_flags(app, options->train);
  add_estimate_flags(app, *options);
  // A model's size may stand in for it.
  app.get_option("--model")->required(false);
  app.add_option("--world-size", options->train.world_size, "plan for this many ranks")
      ->capture_default_str()
      ->check(whole_number(1));
  app.add_option_function<double>(
         "--tbw", [options](double terabytes) { options->tbw = terabytes * 1e12; },
         "TB that a drive may be written in its life: says how long it lasts")
      ->check(real_number(0, true));
  // Accepted so that a train command line can be planned as it is.
  const char* unused = "as in train; nothing is written";
  app.add_option("--out", options->train.out, unused);
  app.add_option("--metrics", options->train.metrics, unused);
  app.add_option("--report", options->train.report, unused);
  app.add_option("--trace", options->train.trace, unused);
  add_saving_flags(app, options->train);
  app.add_flag("--resume", options->train.resume, "as in train; the plan is the same");
  app.add_flag("--quiet", options->train.quiet, "as in train");
  app.add_flag("--json", options->json, "one JSON document on stdout");
  return [options]() -> Result<int> {
    if (options->train.model.empty() && !options->parameters)
      return fail(Error(Errc::bad_config, "plan")
                      .because("--model is required")
                      .remedy("add --model DIR; --estimate also takes --params and "
                              "--largest-layer instead"));
    return options->estimate ? estimate(*options) : plan(*options);
  };
}

}  // namespace fathom::tools
