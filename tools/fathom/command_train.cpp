// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/log.hpp"
#include "base/units.hpp"
#include "commands.hpp"
#include "engine/train.hpp"
#include "job.hpp"
#include "options.hpp"

namespace fathom::tools {
namespace {

std::string summary_text(const engine::TrainSummary& summary) {
  const nlohmann::json& r = summary.report;
  if (r["steps_run"] == 0)
    return fmt::format("nothing to do: {} is committed\n", summary.checkpoint);
  const auto read = r["bytes_of_steps"]["nvme_read"].get<double>(),
             wrote = r["bytes_of_steps"]["nvme_write"].get<double>();
  const double seconds = r["seconds"];
  return fmt::format(
      "loss      {:.4f} -> {:.4f} in {} steps{}\n"
      "speed     {:.0f} tokens/s; {} per step, {:.0f} % of the bound; {} waiting for the disk\n"
      "nvme      {} read at {}, {} written at {}\n"
      "memory    peak {} of the plan's {}; resident set {}\n"
      "files     checkpoint {}\n          metrics {}\n",
      r["loss"]["first"].get<double>(), r["loss"]["last"].get<double>(),
      r["steps_run"].get<double>(), summary.interrupted ? " (interrupted, committed)" : "",
      r["tokens_per_second"].get<double>(), format_seconds(seconds / r["steps_run"].get<double>()),
      r["percent_of_bound"].get<double>(), format_seconds(r["stalled_seconds"]),
      format_bytes(static_cast<std::uint64_t>(read)), format_rate(read / seconds),
      format_bytes(static_cast<std::uint64_t>(wrote)), format_rate(wrote / seconds),
      format_bytes(r["peak"]["host"]), format_bytes(r["plan"]["peak"]["host"]),
      format_bytes(r["peak"]["resident_set"]), summary.checkpoint, r["metrics"].get<std::string>());
}

}  // namespace

Command add_train(CLI::App& app) {
  const auto options = std::make_shared<engine::TrainOptions>();
  const auto json = std::make_shared<bool>(false);
  add_run_flags(app, *options);
  add_training_flags(app, *options);
  app.add_option("--out", options->out, "directory of checkpoint, metrics and report")->required();
  app.add_flag("--resume", options->resume, "go on from the checkpoint in --out");
  add_saving_flags(app, *options);
  app.add_option("--metrics", options->metrics, "JSON line per step (default: OUT/metrics.jsonl)");
  app.add_option("--report", options->report, "JSON report at the end (default: OUT/report.json)");
  app.add_option("--trace", options->trace, "write a Chrome trace here");
  app.add_flag("--quiet", options->quiet, "no plan and no progress line");
  app.add_flag("--json", *json, "print the report as one JSON document on stdout");
  return [options, json]() -> Result<int> {
    FATHOM_ASSIGN(const Job job, Job::join());
    options->ranks = job.ranks();
    options->quiet = options->quiet || !job.speaks();
    FATHOM_ASSIGN(const engine::TrainSummary summary, job.concluded(engine::train(*options)));
    if (!job.speaks()) return summary.interrupted ? exit_interrupted : exit_ok;
    FATHOM_CHECK(*json ? print_json(summary.report) : print_text(summary_text(summary)));
    if (summary.interrupted)
      log::info("interrupted: step {} is committed; --resume continues it",
                summary.report["step"].get<std::int64_t>());
    return summary.interrupted ? exit_interrupted : exit_ok;
  };
}

}  // namespace fathom::tools
