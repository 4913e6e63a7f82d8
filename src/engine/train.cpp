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
#include "config/schedule.hpp"
#include "engine/checkpoint.hpp"
#include "engine/checkpoint_format.hpp"
#include "engine/durable_state.hpp"
#include "engine/executor.hpp"
#include "engine/host_allocator.hpp"
#include "engine/initial_state.hpp"
#include "engine/interrupt.hpp"
#include "engine/metrics.hpp"
#include "engine/model_files.hpp"
#include "engine/plan/render.hpp"
#include "engine/store_reference.hpp"
#include "engine/versions.hpp"

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
        schedule_(config_.scheduler, config_.optimizer.lr) {}

  Result<TrainSummary> run() {
    FATHOM_CHECK(find_resume_point());
    FATHOM_CHECK(allocate());
    FATHOM_CHECK(load_state());
    FATHOM_CHECK(open_outputs());
    if (residence_->store() != nullptr && residence_->store()->durable() != nullptr)
      FATHOM_CHECK(begin_commits());
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
    auto opened = Checkpoint::open(options_.out);
    if (!opened && !options_.resume && opened.error().code() == Errc::not_found) {
      log::warning("{}; it is replaced when this run commits", opened.error().message());
      return {};
    }
    FATHOM_ASSIGN(Checkpoint found, std::move(opened));
    if (!options_.resume) {
      log::warning(
          "{} holds a checkpoint of step {}; it is replaced when this run commits (--resume "
          "continues it)",
          options_.out, found.progress().step);
      return {};
    }
    progress_ = found.progress();
    first_step_ = progress_.step;
    if (progress_.seed != options_.seed)
      log::note(
          fmt::format("the run was started with --seed {}; it goes on with that", progress_.seed));
    log::info("resuming after step {} from {}", progress_.step, found.path());
    checkpoint_.emplace(std::move(found));
    return {};
  }

  Result<void> allocate() {
    FATHOM_ASSIGN(model_, models::make_model(setup_.spec));
    baseline_ = resident_bytes();
    std::optional<swap::DurableFiles> files;
    if (config_.fathom.store == config::StoreMode::durable) {
      FATHOM_ASSIGN(swap::DurableFiles opened, open_store());
      files.emplace(std::move(opened));
    }
    FATHOM_ASSIGN(residence_, Residence::create(setup_.plan, store_options(config_, setup_.plan),
                                                worker_pool(), {}, std::move(files)));
    if (residence_->store() != nullptr) log::info("store: {}", residence_->store()->describe());
    return {};
  }

  // The store that the run continues, when it has this plan's layout; else a new one.
  Result<swap::DurableFiles> open_store() {
    FATHOM_ASSIGN(const std::string output, absolute(options_.out));
    if (checkpoint_ && checkpoint_->store() != nullptr) {
      const std::vector<std::string> directories = checkpoint_->store()->files().directories();
      if (same_chunks(checkpoint_->store()->layout(), durable_layout(setup_.plan))) {
        checkpoint_.reset();  // its shared lock would keep us out, too
        in_place_ = true;
        FATHOM_ASSIGN(auto files, swap::DurableFiles::open(directories, swap::Access::run));
        if (!files.committed() || files.committed()->state.step != progress_.step)
          return fail(Error(Errc::io, "resume from a durable store")
                          .on(directories.front())
                          .because("another process committed to it meanwhile")
                          .remedy("start again"));
        FATHOM_CHECK(files.take_over(output));
        return files;
      }
      log::note(
          fmt::format("the store in {} has another layout than this plan: its step is copied "
                      "into a new one; `fathom inspect {} --gc` frees the old one then",
                      directories.front(), fs::path(directories.front()).parent_path().string()));
    }
    return swap::DurableFiles::create(
        durable_layout(setup_.plan),
        {.parents = store_paths(config_),
         .description = describe_store(setup_.plan, setup_.config.resolved),
         .output = output});
  }

  static Result<std::string> absolute(const std::string& path) {
    std::error_code status;
    const fs::path full = fs::absolute(path, status);
    if (status)
      return fail(
          Error(Errc::io, "find the output directory").on(path).because_errno(status.value()));
    return full.lexically_normal().string();
  }

  Result<void> load_state() {
    if (in_place_) return residence_->read_pinned();
    if (checkpoint_) return load_checkpoint(*checkpoint_, *residence_);
    if (!has_weights(options_.model)) {
      log::info("no weights in {}: random initialisation with seed {}", options_.model,
                options_.seed);
      return fill_residence(*residence_, random_source(options_.seed), false, worker_pool());
    }
    FATHOM_ASSIGN(const models::SafetensorsReader reader,
                  models::SafetensorsReader::open(options_.model));
    FATHOM_ASSIGN(const ParameterSource source, safetensors_source(reader, setup_.spec));
    return fill_residence(*residence_, source, false, worker_pool());
  }

  Result<void> open_outputs() {
    FATHOM_CHECK(make_directories(options_.out));
    const auto default_path = [&](const std::string& given, const char* name) {
      return given.empty() ? (fs::path(options_.out) / name).string() : given;
    };
    report_path_ = default_path(options_.report, "report.json");
    FATHOM_ASSIGN(metrics_, MetricsFile::open(default_path(options_.metrics, "metrics.jsonl"),
                                              checkpoint_ || in_place_));
    if (!options_.trace.empty()) trace_.emplace();
    return {};
  }

  // From here on --out knows where the state lies, and a killed run can be resumed.
  Result<void> begin_commits() {
    durable_.emplace(*residence_, config_.fathom.commit_interval,
                     digest_of(setup_.config.resolved));
    if (in_place_) return {};
    FATHOM_CHECK(durable_->commit(progress_));
    FATHOM_CHECK(copy_model_files(options_.model, options_.out));
    const swap::DurableFiles& files = *residence_->store()->durable();
    std::vector<std::string> directories;
    for (const std::string& directory : files.directories()) {
      FATHOM_ASSIGN(std::string full, absolute(directory));
      directories.push_back(std::move(full));
    }
    FATHOM_CHECK(write_store_reference(
        options_.out, {.id = files.superblock().id.text(), .directories = std::move(directories)}));
    checkpoint_.reset();
    // What --out held before is replaced, now that something else is committed.
    std::error_code ignored;
    fs::remove(fs::path(options_.out) / latest_file_name, ignored);
    for (const auto& entry : fs::directory_iterator(options_.out, ignored))
      if (entry.path().filename().string().starts_with("step-"))
        fs::remove_all(entry.path(), ignored);
    return {};
  }

  // The step's micro-batches: windows in order, rows in order.
  std::vector<MicroBatch> next_batches() {
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
    install_host_allocator();
    set_host_allocator_cap(setup_.plan.activation_bytes);
    reset_host_allocator_peak();
    UpdateRule rule{.hyper = {.lr = config_.optimizer.lr,
                              .beta1 = config_.optimizer.beta1,
                              .beta2 = config_.optimizer.beta2,
                              .eps = config_.optimizer.eps,
                              .weight_decay = config_.optimizer.weight_decay,
                              .decoupled = config_.optimizer.decoupled,
                              .bias_correction = config_.optimizer.bias_correction},
                    .clipping = config_.gradient_clipping};
    TrainingExecutor executor(setup_.plan, *residence_, model_, worker_pool(), rule,
                              trace_ ? &*trace_ : nullptr);
    executor.set_updates(progress_.updates);
    const Interrupt interrupt;
    ProgressLine line(first, last, config_.steps_per_print, options_.quiet);
    const double begin = now_seconds();
    for (std::int64_t step = first; step <= last && !interrupt.requested(); ++step) {
      FATHOM_CHECK(run_step(executor, step, step < last && !interrupt.requested(), line));
    }
    interrupted_ = interrupt.requested() && progress_.step < last;
    FATHOM_CHECK(executor.flush());
    if (durable_) FATHOM_CHECK(durable_->commit_last());
    seconds_ = now_seconds() - begin;
    changed_ = true;
    return {};
  }

  Result<void> run_step(TrainingExecutor& executor, std::int64_t step, bool more_follow,
                        ProgressLine& line) {
    const double lr = schedule_.of_update(static_cast<std::uint64_t>(executor.updates()));
    const std::vector<MicroBatch> batches = next_batches();
    std::function<Result<void>()> settled;
    if (durable_ && durable_->due()) settled = [this] { return durable_->commit_last(); };
    FATHOM_ASSIGN(const StepResult result, executor.step(batches, lr, more_follow, settled));
    progress_.step = step;
    progress_.updates = executor.updates();
    const std::uint64_t tokens = config_.batch.train * setup_.length;
    progress_.tokens += tokens;
    if (durable_) durable_->finished(progress_);
    StepMetrics m{.step = step,
                  .loss = result.loss,
                  .lr = lr,
                  .grad_norm = result.grad_norm,
                  .skipped = result.skipped,
                  .tokens = tokens,
                  .seconds = result.seconds,
                  .lower_bound_seconds = setup_.plan.prediction.lower_bound_seconds,
                  .bytes = result.bytes,
                  .planned = result.planned,
                  .peak_host = setup_.plan.arena_bytes + setup_.plan.input.fixed_bytes +
                               host_allocator_stats().peak};
    metrics_.add(m);
    line.update(m);
    if (!first_loss_) first_loss_ = result.loss;
    last_loss_ = result.loss;
    stalled_ += result.stalled_seconds;
    planned_.nvme_read += result.planned.nvme_read;
    planned_.nvme_write += result.planned.nvme_write;
    skipped_ += result.skipped;
    return {};
  }

  Result<TrainSummary> finish() {
    TrainSummary summary;
    summary.interrupted = interrupted_;
    if (durable_) {
      summary.checkpoint = residence_->store()->durable()->directories().front();
    } else if (changed_) {
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
    const double steps = static_cast<double>(progress_.step - first_step_);
    return {
        {"step", progress_.step},
        {"steps_run", steps},
        {"interrupted", summary.interrupted},
        {"skipped_steps", skipped_},
        {"loss",
         {{"first", first_loss_ ? json(*first_loss_) : json(nullptr)}, {"last", last_loss_}}},
        {"tokens", progress_.tokens},
        {"seconds", seconds_},
        {"tokens_per_second",
         seconds_ > 0 ? steps * static_cast<double>(config_.batch.train * setup_.length) / seconds_
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
          {"device", 0},
          {"resident_set", peak_resident_bytes()},
          {"resident_set_before", baseline_}}},
        {"pages", aio::to_string(residence_->arena().page_kind())},
        {"data",
         {{"windows", setup_.data->windows()}, {"dropped_tokens", setup_.data->dropped_tokens()}}},
        {"commits",
         {{"count", durable_ ? durable_->commits() : 0},
          {"seconds", durable_ ? durable_->seconds() : 0}}},
        {"checkpoint", summary.checkpoint},
        {"metrics", metrics_.path()},
        {"trace", options_.trace},
        {"seed", progress_.seed},
        {"device", "cpu"},
        {"versions", versions()},
        {"config", setup_.config.resolved},
        {"plan", plan_json(setup_.plan, setup_.shortfalls)}};
  }

  const TrainOptions& options_;
  TrainingSetup setup_;
  const config::Config& config_;
  config::LearningRate schedule_;
  models::Model model_;
  std::optional<Checkpoint> checkpoint_;
  std::unique_ptr<Residence> residence_;
  std::optional<DurableState> durable_;
  bool in_place_ = false;        // the run goes on in the store that it began in
  std::int64_t first_step_ = 0;  // the step that it goes on from
  std::optional<Trace> trace_;
  MetricsFile metrics_;
  std::string report_path_;
  Progress progress_;
  StepBytes planned_;
  std::optional<double> first_loss_;
  double last_loss_ = 0, seconds_ = 0, stalled_ = 0;
  std::uint64_t baseline_ = 0;
  std::int64_t skipped_ = 0;
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
