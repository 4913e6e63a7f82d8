// SPDX-License-Identifier: Apache-2.0
#include "engine/train_report.hpp"

#include "engine/host_allocator.hpp"
#include "engine/machine.hpp"
#include "engine/plan/render.hpp"
#include "engine/versions.hpp"

namespace fathom::engine {
namespace {

using nlohmann::json;

json evaluation_json(const Evaluations& evaluations) {
  if (evaluations.all().empty()) return nullptr;
  const auto one = [](const EvalMetrics& m) {
    return json{{"step", m.step}, {"loss", m.loss}, {"tokens", m.tokens}, {"seconds", m.seconds}};
  };
  json all = json::array();
  for (const EvalMetrics& metrics : evaluations.all()) all.push_back(one(metrics));
  const auto best = evaluations.best();
  return {{"best", best ? one(*best) : json(nullptr)}, {"all", std::move(all)}};
}

}  // namespace

void RunTotals::add(const StepMetrics& metrics) {
  if (!first_loss) first_loss = metrics.loss;
  last_loss = metrics.loss;
  stalled += metrics.stalled_seconds;
  planned.nvme_read += metrics.planned.nvme_read;
  planned.nvme_write += metrics.planned.nvme_write;
  skipped += metrics.skipped;
  peak_device = metrics.peak_device;
}

json train_report(const ReportSources& from) {
  const TrainingSetup& setup = from.setup;
  const RunTotals& totals = from.totals;
  RunState& state = from.state;
  const DurableState* durable = state.durable();
  const swap::StoreCounters measured = state.residence().store() != nullptr
                                           ? state.residence().store()->counters()
                                           : swap::StoreCounters{};
  const double steps = static_cast<double>(totals.progress.step - totals.first_step);
  return {
      {"step", totals.progress.step},
      {"steps_run", steps},
      {"interrupted", totals.interrupted},
      {"skipped_steps", totals.skipped},
      {"loss_scale", totals.loss_scale},
      {"loss",
       {{"first", totals.first_loss ? json(*totals.first_loss) : json(nullptr)},
        {"last", totals.last_loss}}},
      {"tokens", totals.progress.tokens},
      {"seconds", totals.seconds},
      {"tokens_per_second",
       totals.seconds > 0
           ? steps * static_cast<double>(setup.config.config.batch.train * setup.tokens_per_row()) /
                 totals.seconds
           : 0},
      {"stalled_seconds", totals.stalled},
      {"lower_bound_seconds", setup.plan.prediction.lower_bound_seconds},
      {"percent_of_bound",
       totals.seconds > 0 ? 100 * steps * setup.plan.prediction.lower_bound_seconds / totals.seconds
                          : 0},
      {"bytes_of_steps", bytes_json(totals.planned)},
      {"bytes_measured",
       {{"nvme_read", measured.total_read()},
        {"nvme_write", measured.total_written()},
        {"padding_read", measured.padding_read},
        {"padding_written", measured.padding_written}}},
      {"peak",
       {{"host",
         setup.plan.arena_bytes + setup.plan.input.fixed_bytes + host_allocator_stats().peak},
        {"device", totals.peak_device},
        {"resident_set", peak_resident_bytes()},
        {"resident_set_before", state.bytes_before()}}},
      {"pages", aio::to_string(state.residence().arena().page_kind())},
      {"data", {{"windows", setup.data->rows()}, {"dropped_tokens", setup.data->dropped_tokens()}}},
      {"commits",
       {{"count", durable != nullptr ? durable->commits() : 0},
        {"seconds", durable != nullptr ? durable->seconds() : 0}}},
      {"checkpoints", {{"count", from.series.saved()}, {"seconds", from.series.seconds()}}},
      {"evaluations", evaluation_json(from.evaluations)},
      {"stopped_early", totals.stopped_early},
      {"checkpoint", from.checkpoint},
      {"metrics", from.metrics},
      {"trace", from.trace},
      {"seed", totals.progress.seed},
      {"device", setup.device.name},
      {"versions", versions()},
      {"config", setup.config.resolved},
      {"plan", plan_json(setup.plan, setup.shortfalls)}};
}

}  // namespace fathom::engine
