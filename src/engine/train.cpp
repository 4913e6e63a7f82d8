// SPDX-License-Identifier: Apache-2.0
#include "engine/train.hpp"

#include <filesystem>

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/text_file.hpp"
#include "comm/agree.hpp"
#include "engine/checkpoint_series.hpp"
#include "engine/evaluations.hpp"
#include "engine/host_allocator.hpp"
#include "engine/interrupt.hpp"
#include "engine/metrics.hpp"
#include "engine/monitor.hpp"
#include "engine/plan/render.hpp"
#include "engine/ranks.hpp"
#include "engine/stepper.hpp"
#include "engine/train_report.hpp"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A run in progress: what its phases share.
class TrainingRun {
 public:
  TrainingRun(const TrainOptions& options, TrainingSetup setup)
      : options_(options),
        setup_(std::move(setup)),
        config_(setup_.config.config),
        state_(options_, setup_) {}

  Result<TrainSummary> run() {
    FATHOM_CHECK(state_.find_start());
    FATHOM_CHECK(state_.load());
    FATHOM_CHECK(open_outputs());
    FATHOM_CHECK(state_.begin_commits());
    // What --out held before is replaced, now that something else is committed.
    if (state_.durable() != nullptr && !state_.in_place()) series_->hand_over(state_.start().step);
    FATHOM_CHECK(run_steps());
    return finish();
  }

 private:
  Result<void> open_outputs() {
    if (first_rank()) FATHOM_CHECK(make_directories(options_.out));
    const auto default_path = [&](const std::string& given, const char* name) {
      return given.empty() ? (fs::path(options_.out) / name).string() : given;
    };
    totals_.progress = state_.start();
    totals_.first_step = state_.start().step;
    config::LossScale scale(config_.precision);
    if (state_.start().loss_scale) scale.resume(*state_.start().loss_scale);
    totals_.loss_scale = scale.scale();
    report_path_ = default_path(options_.report, "report.json");
    if (first_rank()) {
      FATHOM_ASSIGN(metrics_, MetricsFile::open(default_path(options_.metrics, "metrics.jsonl"),
                                                state_.continues_output()));
    }
    if (first_rank() && !options_.trace.empty()) trace_.emplace().plan(setup_.plan);
    const auto own = state_.continues_output() ? std::optional(state_.start().step) : std::nullopt;
    series_.emplace(
        SeriesOptions{.directory = options_.out,
                      .model = options_.model,
                      .keep_last = options_.keep_last,
                      .beside_store = config_.fathom.store == config::StoreMode::durable,
                      .ranks = options_.ranks},
        own);
    if (first_rank()) {
      FATHOM_ASSIGN(monitors_, Monitors::open(config_, own.has_value()));
    }
    FATHOM_ASSIGN(evaluations_, Evaluations::open(options_.out,
                                                  {.patience = options_.patience,
                                                   .threshold = options_.threshold},
                                                  own, first_rank()));
    return {};
  }

  Result<void> run_steps() {
    const auto last = static_cast<std::int64_t>(setup_.steps);
    const std::int64_t first = state_.start().step + 1;
    if (first > last) {
      log::info("step {} of {} is already committed: nothing to do", first - 1, last);
      return {};
    }
    if (evaluations_->exhausted()) {
      log::info("step {}: stopped early before, nothing to do", first - 1);
      return {};
    }
    FATHOM_ASSIGN(stepper_, Stepper::create(setup_, state_, trace_ ? &*trace_ : nullptr));
    const Interrupt interrupt;
    ProgressLine line(first, last, config_.steps_per_print, options_.quiet);
    const double begin = now_seconds();
    FATHOM_CHECK(catch_up(line));
    bool done = false;
    FATHOM_ASSIGN(bool stop, any_rank(options_.ranks, interrupt.requested()));
    for (std::int64_t step = first; step <= last && !done && !stop; ++step) {
      // The state comes to rest after a step that is evaluated or saved: nothing is read ahead.
      const bool rests = step == last || evaluates(step) || saves(step);
      FATHOM_ASSIGN(
          const StepMetrics metrics,
          stepper_->step(setup_.data->batches_of_rank(stepper_->progress().next_window,
                                                      config_.batch, setup_.plan.input.rank),
                         !rests && (options_.ranks != nullptr || !interrupt.requested())));
      totals_.add(metrics);
      line.update(metrics);
      if (auto fine = stepper_->conclude(); !fine) {
        metrics_.add(metrics);
        return fail(std::move(fine).error());
      }
      FATHOM_ASSIGN(done, after_step(metrics, line));
      FATHOM_ASSIGN(stop, any_rank(options_.ranks, interrupt.requested()));
    }
    totals_.interrupted = stop && stepper_->progress().step < last && !done;
    totals_.stopped_early = done && stepper_->progress().step < last;
    FATHOM_CHECK(stepper_->settle());
    totals_.seconds = now_seconds() - begin;
    totals_.progress = stepper_->progress();
    totals_.loss_scale = stepper_->loss_scale();
    return {};
  }

  bool evaluates(std::int64_t step) const {
    if (!setup_.eval_data) return false;
    return step == static_cast<std::int64_t>(setup_.steps) ||
           is_multiple(step, options_.eval_every);
  }
  bool saves(std::int64_t step) const { return is_multiple(step, options_.save_every); }
  static bool is_multiple(std::int64_t step, std::uint64_t every) {
    return every != 0 && static_cast<std::uint64_t>(step) % every == 0;
  }

  // A durable store may hold a step whose evaluation a kill cut off.
  Result<void> catch_up(ProgressLine& line) {
    const std::int64_t step = state_.start().step;
    if (step == 0 || !state_.continues_output() || !evaluates(step) || evaluations_->has(step))
      return {};
    std::optional<EvalMetrics> evaluation;
    FATHOM_ASSIGN(const bool best, evaluate(line, evaluation));
    if (best && options_.save_best) FATHOM_CHECK(save(true));
    return {};
  }

  // Whether it is the best so far.
  Result<bool> evaluate(ProgressLine& line, std::optional<EvalMetrics>& evaluation) {
    FATHOM_CHECK(stepper_->settle());
    FATHOM_ASSIGN(evaluation, stepper_->evaluate(*setup_.eval_data));
    FATHOM_ASSIGN(const bool best, evaluations_->add(*evaluation));
    line.evaluated(*evaluation, best);
    return best;
  }

  // Evaluates and saves where it is the step's turn. Whether the run ends here.
  Result<bool> after_step(const StepMetrics& metrics, ProgressLine& line) {
    bool best = false;
    std::optional<EvalMetrics> evaluation;
    if (evaluates(metrics.step)) {
      FATHOM_ASSIGN(best, evaluate(line, evaluation));
    }
    metrics_.add(metrics, evaluation ? &*evaluation : nullptr);
    monitor(metrics, evaluation ? &*evaluation : nullptr);
    if (saves(metrics.step) || (best && options_.save_best)) {
      FATHOM_CHECK(stepper_->settle());
      FATHOM_CHECK(save(best && options_.save_best));
    }
    if (!evaluation || !evaluations_->exhausted()) return false;
    log::info(
        "step {}: the loss on {} has not been better than {:.6g} for {} evaluations, stopping",
        metrics.step, options_.eval_data, evaluations_->best() ? evaluations_->best()->loss : 0,
        options_.patience);
    return true;
  }

  // DeepSpeed's tags, over the samples seen.
  void monitor(const StepMetrics& metrics, const EvalMetrics* evaluation) {
    std::vector<MonitorPoint> points = {{"Train/Samples/train_loss", metrics.loss},
                                        {"Train/Samples/lr", metrics.lr}};
    if (config_.precision.compute == config::Precision::fp16)
      points.push_back({"Train/Samples/loss_scale", metrics.loss_scale});
    if (evaluation != nullptr) points.push_back({"Eval/Samples/eval_loss", evaluation->loss});
    monitors_.add(metrics.step * static_cast<std::int64_t>(config_.batch.train), points);
  }

  Result<std::string> save(bool best) {
    release_cached_host_memory();
    return series_->save(state_.residence(), stepper_->progress(), setup_.config.resolved, best);
  }

  Result<TrainSummary> finish() {
    TrainSummary summary;
    summary.interrupted = totals_.interrupted;
    if (state_.durable() != nullptr) {
      summary.checkpoint = state_.residence().store()->durable()->directories().front();
    } else if (stepper_) {
      FATHOM_ASSIGN(summary.checkpoint, save(false));
    } else {
      summary.checkpoint = state_.resumed_from();
    }
    if (trace_) FATHOM_CHECK(trace_->write(options_.trace));
    summary.report = train_report({.setup = setup_,
                                   .state = state_,
                                   .totals = totals_,
                                   .evaluations = *evaluations_,
                                   .series = *series_,
                                   .checkpoint = summary.checkpoint,
                                   .metrics = metrics_.path(),
                                   .trace = options_.trace});
    if (first_rank()) FATHOM_CHECK(write_text_file(report_path_, summary.report.dump(1) + "\n"));
    return summary;
  }

  // The one that writes what there is one of.
  bool first_rank() const { return options_.ranks == nullptr || options_.ranks->rank() == 0; }

  const TrainOptions& options_;
  TrainingSetup setup_;
  const config::Config& config_;
  RunState state_;
  std::optional<Trace> trace_;  // outlives the stepper
  std::unique_ptr<Stepper> stepper_;
  std::optional<CheckpointSeries> series_;
  std::optional<Evaluations> evaluations_;
  MetricsFile metrics_;
  Monitors monitors_;
  RunTotals totals_;
  std::string report_path_;
};

Result<void> check_options(const TrainOptions& options) {
  const auto bad = [](const char* on, const char* why, const char* remedy) {
    return fail(Error(Errc::bad_config, "train").on(on).because(why).remedy(remedy));
  };
  if (options.out.empty())
    return fail(Error(Errc::bad_config, "train")
                    .because("no output directory was given")
                    .remedy("add --out DIR"));
  if (options.eval_data.empty()) {
    if (options.eval_every != 0)
      return bad("--eval-every", "there is nothing to evaluate on", "add --eval-data FILE");
    if (options.save_best)
      return bad("--save-best", "only an evaluation tells which is the best",
                 "add --eval-data FILE");
    if (options.patience != 0)
      return bad("--early-stopping-patience", "only an evaluation tells when to stop",
                 "add --eval-data FILE and --eval-every K");
  }
  if (options.patience != 0 && options.eval_every == 0)
    return bad("--early-stopping-patience", "there is one evaluation, at the end",
               "add --eval-every K");
  return {};
}

}  // namespace

Result<TrainSummary> train(const TrainOptions& options) {
  FATHOM_CHECK(check_options(options));
  FATHOM_ASSIGN(TrainingSetup setup, prepare_training(options, DataNeed::required));
  const Result<void> possible = refuse_shortfalls(setup.shortfalls);
  if (options.ranks != nullptr) FATHOM_CHECK(comm::agree(*options.ranks, possible));
  FATHOM_CHECK(possible);
  if (setup.config.config.dump_state)
    log::info("configuration as resolved:\n{}", setup.config.resolved.dump(2));
  if (!options.quiet) log::info("\n{}", plan_text(setup.plan, setup.shortfalls));
  return TrainingRun(options, std::move(setup)).run();
}

}  // namespace fathom::engine
