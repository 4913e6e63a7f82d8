// SPDX-License-Identifier: Apache-2.0
#include "engine/train.hpp"

#include <filesystem>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/text_file.hpp"
#include "base/units.hpp"
#include "config/loss_scale.hpp"
#include "config/schedule.hpp"
#include "engine/checkpoint.hpp"
#include "engine/cuda/executor.hpp"
#include "engine/executor.hpp"
#include "engine/host_allocator.hpp"
#include "engine/initial_state.hpp"
#include "engine/interrupt.hpp"
#include "engine/metrics.hpp"
#include "engine/model_files.hpp"
#include "engine/optimizer_rule.hpp"
#include "engine/pair_batch.hpp"
#include "engine/plan/render.hpp"
#include "engine/versions.hpp"
#include "engine/weight_check.hpp"

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
        schedule_(config_.scheduler, config_.optimizer.lr),
        loss_scale_(config_.precision) {}

  Result<TrainSummary> run() {
    FATHOM_CHECK(find_resume_point());
    FATHOM_CHECK(open_weights());
    FATHOM_CHECK(allocate());
    FATHOM_CHECK(load_state());
    FATHOM_CHECK(open_outputs());
    FATHOM_CHECK(run_steps());
    return finish();
  }

 private:
  Result<void> find_resume_point() {
    progress_.seed = options_.seed;
    if (!Checkpoint::exists(options_.out)) {
      if (options_.resume)
        log::info("nothing is committed in {}: starting at step 0", options_.out);
      return {};
    }
    FATHOM_ASSIGN(Checkpoint found, Checkpoint::open(options_.out));
    if (!options_.resume) {
      log::warning(
          "{} holds a checkpoint of step {}; it is replaced when this run commits (--resume "
          "continues it)",
          options_.out, found.progress().step);
      return {};
    }
    progress_ = found.progress();
    if (progress_.loss_scale) loss_scale_.resume(*progress_.loss_scale);
    if (progress_.seed != options_.seed)
      log::note(
          fmt::format("the run was started with --seed {}; it goes on with that", progress_.seed));
    log::info("resuming after step {} from {}", progress_.step, found.path());
    checkpoint_.emplace(std::move(found));
    return {};
  }

  // Before anything is allocated or created: weights that do not fit the model are refused here.
  Result<void> open_weights() {
    if (checkpoint_) return {};
    if (!has_weights(options_.model)) {
      log::info("no weights in {}: random initialisation with seed {}", options_.model,
                options_.seed);
      source_ = random_source(options_.seed);
      return {};
    }
    FATHOM_ASSIGN(models::SafetensorsReader reader,
                  models::SafetensorsReader::open(options_.model));
    reader_.emplace(std::move(reader));
    FATHOM_ASSIGN(source_, safetensors_source(*reader_, setup_.spec));
    return {};
  }

  Result<void> allocate() {
    FATHOM_ASSIGN(model_, models::make_model(setup_.spec));
    baseline_ = resident_bytes();
    FATHOM_ASSIGN(residence_, Residence::create(setup_.plan, store_options(config_, setup_.plan),
                                                worker_pool()));
    if (residence_->store() != nullptr) log::info("store: {}", residence_->store()->describe());
    return {};
  }

  Result<void> load_state() {
    if (checkpoint_) {
      FATHOM_CHECK(check_optimizer());
      return load_checkpoint(*checkpoint_, *residence_);
    }
    FATHOM_CHECK(fill_residence(*residence_, source_, false, worker_pool()));
    reader_.reset();
    source_ = {};
    return {};
  }

  // States of another rule may have the same sizes and mean something else.
  Result<void> check_optimizer() const {
    const auto kind = [](const std::string& type) { return type == "AdamW" ? "Adam" : type; };
    const json::json_pointer path("/optimizer/type");
    const std::string before = checkpoint_->config().value(path, std::string("AdamW"));
    const std::string now = to_string(config_.optimizer.type);
    if (kind(before) == kind(now)) return {};
    return fail(
        Error(Errc::bad_config, "resume from a checkpoint")
            .on(checkpoint_->path())
            .because(fmt::format("its states are {}'s, and the optimizer is {}", before, now))
            .remedy("name the optimizer that the run was started with"));
  }

  Result<void> open_outputs() {
    FATHOM_CHECK(make_directories(options_.out));
    const auto default_path = [&](const std::string& given, const char* name) {
      return given.empty() ? (fs::path(options_.out) / name).string() : given;
    };
    report_path_ = default_path(options_.report, "report.json");
    FATHOM_ASSIGN(metrics_, MetricsFile::open(default_path(options_.metrics, "metrics.jsonl"),
                                              checkpoint_.has_value()));
    if (!options_.trace.empty()) trace_.emplace().plan(setup_.plan);
    return {};
  }

  // The step's micro-batches: windows or records in order, rows in order.
  std::vector<MicroBatch> next_batches() { return setup_.pairs ? next_pairs() : next_windows(); }

  std::vector<MicroBatch> next_pairs() {
    std::vector<MicroBatch> batches;
    for (std::uint64_t i = 0; i < config_.batch.accumulation; ++i) {
      const PairBatch pairs = pair_batch(*setup_.pairs, progress_.next_window, config_.batch.micro,
                                         setup_.length, setup_.target_length);
      progress_.next_window += config_.batch.micro;
      batches.push_back({.input_ids = pairs.input_ids,
                         .targets = pairs.labels,
                         .attention_mask = pairs.attention_mask,
                         .decoder_input_ids = pairs.decoder_input_ids});
    }
    return batches;
  }

  std::vector<MicroBatch> next_windows() {
    const auto length = static_cast<std::int64_t>(setup_.length);
    const auto rows = static_cast<std::int64_t>(config_.batch.micro);
    std::vector<std::int64_t> window(setup_.length + 1);
    std::vector<MicroBatch> batches;
    for (std::uint64_t i = 0; i < config_.batch.accumulation; ++i) {
      const auto options = at::TensorOptions().dtype(c10::ScalarType::Long);
      MicroBatch batch{at::empty({rows, length}, options), at::empty({rows, length}, options)};
      auto* ids = static_cast<std::int64_t*>(batch.input_ids.data_ptr());
      auto* targets = static_cast<std::int64_t*>(batch.targets.data_ptr());
      for (std::int64_t row = 0; row < rows; ++row) {
        setup_.data->window(progress_.next_window++, window);
        std::copy(window.begin(), window.end() - 1, ids + row * length);
        std::copy(window.begin() + 1, window.end(), targets + row * length);
      }
      batches.push_back(std::move(batch));
    }
    return batches;
  }

  Result<void> run_steps() {
    const auto last = static_cast<std::int64_t>(setup_.steps);
    const std::int64_t first = progress_.step + 1;
    if (first > last) {
      log::info("step {} of {} is already committed: nothing to do", progress_.step, last);
      return {};
    }
    // On a GPU activations are in its memory, and its executor caps them.
    if (setup_.device.kind == DeviceKind::cpu) {
      install_host_allocator();
      set_host_allocator_cap(setup_.plan.activation_bytes);
    }
    reset_host_allocator_peak();
    const UpdateRule rule{.hyper = hyper_of(config_.optimizer),
                          .clipping = config_.gradient_clipping,
                          .skip_non_finite = config_.precision.check_grad_overflow ||
                                             config_.precision.compute == config::Precision::fp16};
    FATHOM_ASSIGN(const std::unique_ptr<StepExecutor> made, make_executor(rule));
    StepExecutor& executor = *made;
    executor.set_updates(progress_.updates);
    const Interrupt interrupt;
    ProgressLine line(first, last, config_.steps_per_print, options_.quiet);
    const double begin = now_seconds();
    for (std::int64_t step = first; step <= last && !interrupt.requested(); ++step) {
      FATHOM_CHECK(run_step(executor, step, step < last && !interrupt.requested(), line));
    }
    interrupted_ = interrupt.requested() && progress_.step < last;
    FATHOM_CHECK(executor.flush());
    seconds_ = now_seconds() - begin;
    changed_ = true;
    return {};
  }

  Result<std::unique_ptr<StepExecutor>> make_executor(const UpdateRule& rule) {
    Trace* trace = trace_ ? &*trace_ : nullptr;
    if (setup_.device.kind == DeviceKind::cuda)
      return make_cuda_executor(setup_.plan, *residence_, model_, worker_pool(), rule, trace);
    return std::make_unique<TrainingExecutor>(setup_.plan, *residence_, model_, worker_pool(), rule,
                                              trace);
  }

  Result<void> run_step(StepExecutor& executor, std::int64_t step, bool more_follow,
                        ProgressLine& line) {
    const double lr = schedule_.of_update(static_cast<std::uint64_t>(executor.updates()));
    const StepControls controls{
        .loss_scale = loss_scale_.scale(),
        .betas = schedule_.betas_at(schedule_.first_iteration() + executor.updates())};
    const std::vector<MicroBatch> batches = next_batches();
    FATHOM_ASSIGN(const StepResult result, executor.step(batches, lr, more_follow, controls));
    progress_.step = step;
    progress_.updates = executor.updates();
    const std::uint64_t tokens = config_.batch.train * setup_.tokens_per_row();
    progress_.tokens += tokens;
    StepMetrics m{.step = step,
                  .loss = result.loss,
                  .lr = lr,
                  .grad_norm = result.grad_norm,
                  .loss_scale = controls.loss_scale,
                  .skipped = result.skipped,
                  .tokens = tokens,
                  .seconds = result.seconds,
                  .lower_bound_seconds = setup_.plan.prediction.lower_bound_seconds,
                  .bytes = result.bytes,
                  .planned = result.planned,
                  .peak_host = setup_.plan.arena_bytes + setup_.plan.input.fixed_bytes +
                               host_allocator_stats().peak,
                  .peak_device = executor.peak_device_bytes()};
    peak_device_ = m.peak_device;
    metrics_.add(m);
    line.update(m);
    if (!first_loss_) first_loss_ = result.loss;
    last_loss_ = result.loss;
    stalled_ += result.stalled_seconds;
    planned_.nvme_read += result.planned.nvme_read;
    planned_.nvme_write += result.planned.nvme_write;
    skipped_ += result.skipped;
    return after_step(executor, result);
  }

  // The loss scale's turn. An update that was left out is said, and ends the run when no later one
  // could do better.
  Result<void> after_step(StepExecutor& executor, const StepResult& result) {
    const double before = loss_scale_.scale();
    const bool can_go_on = loss_scale_.update(!result.non_finite.empty());
    if (config_.precision.compute == config::Precision::fp16)
      progress_.loss_scale = loss_scale_.state();
    if (result.non_finite.empty()) {
      skipped_in_a_row_ = 0;
      return {};
    }
    ++skipped_in_a_row_;
    const std::string scale =
        loss_scale_.is_dynamic() ? fmt::format("; loss scale {} -> {}", before, loss_scale_.scale())
                                 : "";
    log::warning("step {}: {} is not finite, the update {}{}", progress_.step, result.non_finite,
                 result.skipped ? "is left out" : "is applied all the same", scale);
    if (loss_scale_.is_dynamic() && can_go_on) return {};
    // Only a dynamic scale changes what the next step computes with the same weights.
    FATHOM_CHECK(executor.flush());
    FATHOM_ASSIGN(const std::optional<std::string> broken,
                  first_non_finite_weight(*residence_, worker_pool()));
    if (broken) return fail(stop(fmt::format("the weight {} is not finite any more", *broken)));
    if (!can_go_on)
      return fail(stop(fmt::format("{} overflows with the loss scale at its minimum of {}",
                                   result.non_finite, loss_scale_.scale())));
    if (skipped_in_a_row_ >= most_skipped)
      return fail(
          stop(fmt::format("the gradients of {} steps in a row were not finite, those of "
                           "the last one first in {}",
                           most_skipped, result.non_finite)));
    return {};
  }

  Error stop(const std::string& why) const {
    const bool fp16 = config_.precision.compute == config::Precision::fp16;
    return Error(Errc::bad_input, "train a step")
        .on(fmt::format("step {}", progress_.step))
        .because(why)
        .remedy(fp16 ? "fp16 cannot hold this model: use bf16 or fp32, or a lower learning rate; a "
                       "larger initial_scale_power cannot help"
                     : "use a lower learning rate or a longer warm-up, and look at the data of "
                       "this step");
  }

  Result<TrainSummary> finish() {
    TrainSummary summary;
    summary.interrupted = interrupted_;
    if (changed_) {
      release_cached_host_memory();
      FATHOM_ASSIGN(summary.checkpoint,
                    write_checkpoint(options_.out, *residence_, progress_, setup_.config.resolved));
      FATHOM_CHECK(copy_model_files(options_.model, options_.out));
    } else if (checkpoint_) {
      summary.checkpoint = checkpoint_->path();
    }
    if (trace_) FATHOM_CHECK(trace_->write(options_.trace));
    summary.report = report(summary);
    FATHOM_CHECK(write_text_file(report_path_, summary.report.dump(1) + "\n"));
    return summary;
  }

  json report(const TrainSummary& summary) const {
    const swap::StoreCounters measured =
        residence_->store() != nullptr ? residence_->store()->counters() : swap::StoreCounters{};
    const double steps =
        static_cast<double>(progress_.step - (checkpoint_ ? checkpoint_->progress().step : 0));
    return {
        {"step", progress_.step},
        {"steps_run", steps},
        {"interrupted", summary.interrupted},
        {"skipped_steps", skipped_},
        {"loss_scale", loss_scale_.scale()},
        {"loss",
         {{"first", first_loss_ ? json(*first_loss_) : json(nullptr)}, {"last", last_loss_}}},
        {"tokens", progress_.tokens},
        {"seconds", seconds_},
        {"tokens_per_second",
         seconds_ > 0
             ? steps * static_cast<double>(config_.batch.train * setup_.tokens_per_row()) / seconds_
             : 0},
        {"stalled_seconds", stalled_},
        {"lower_bound_seconds", setup_.plan.prediction.lower_bound_seconds},
        {"percent_of_bound",
         seconds_ > 0 ? 100 * steps * setup_.plan.prediction.lower_bound_seconds / seconds_ : 0},
        {"bytes_of_steps", bytes_json(planned_)},
        {"bytes_measured",
         {{"nvme_read", measured.total_read()},
          {"nvme_write", measured.total_written()},
          {"padding_read", measured.padding_read},
          {"padding_written", measured.padding_written}}},
        {"peak",
         {{"host",
           setup_.plan.arena_bytes + setup_.plan.input.fixed_bytes + host_allocator_stats().peak},
          {"device", peak_device_},
          {"resident_set", peak_resident_bytes()},
          {"resident_set_before", baseline_}}},
        {"pages", aio::to_string(residence_->arena().page_kind())},
        {"data", {{"windows", setup_.windows()}, {"dropped_tokens", setup_.dropped_tokens()}}},
        {"checkpoint", summary.checkpoint},
        {"metrics", metrics_.path()},
        {"trace", options_.trace},
        {"seed", progress_.seed},
        {"device", setup_.device.name},
        {"versions", versions()},
        {"config", setup_.config.resolved},
        {"plan", plan_json(setup_.plan, setup_.shortfalls)}};
  }

  const TrainOptions& options_;
  TrainingSetup setup_;
  const config::Config& config_;
  config::LearningRate schedule_;
  config::LossScale loss_scale_;
  models::Model model_;
  std::optional<Checkpoint> checkpoint_;
  std::optional<models::SafetensorsReader> reader_;  // while loading, with what reads from it
  ParameterSource source_;
  std::unique_ptr<Residence> residence_;
  std::optional<Trace> trace_;
  MetricsFile metrics_;
  std::string report_path_;
  Progress progress_;
  StepBytes planned_;
  std::optional<double> first_loss_;
  double last_loss_ = 0, seconds_ = 0, stalled_ = 0;
  std::uint64_t baseline_ = 0;
  static constexpr int most_skipped = 8;
  std::uint64_t peak_device_ = 0;
  std::int64_t skipped_ = 0;
  int skipped_in_a_row_ = 0;
  bool interrupted_ = false, changed_ = false;
};

}  // namespace

Result<TrainSummary> train(const TrainOptions& options) {
  if (options.out.empty())
    return fail(Error(Errc::bad_config, "train")
                    .because("no output directory was given")
                    .remedy("add --out DIR"));
  FATHOM_ASSIGN(TrainingSetup setup, prepare_training(options, /*need_data=*/true));
  FATHOM_CHECK(refuse_shortfalls(setup.shortfalls));
  if (setup.config.config.dump_state)
    log::info("configuration as resolved:\n{}", setup.config.resolved.dump(2));
  if (!options.quiet) log::info("\n{}", plan_text(setup.plan, setup.shortfalls));
  return TrainingRun(options, std::move(setup)).run();
}

}  // namespace fathom::engine
