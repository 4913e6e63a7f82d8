// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint_series.hpp"

#include <filesystem>

#include "base/clock.hpp"
#include "base/text_file.hpp"
#include "engine/checkpoint_format.hpp"
#include "engine/checkpoint_retention.hpp"
#include "engine/model_files.hpp"
#include "engine/store_reference.hpp"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

std::set<std::int64_t> steps_in(const std::string& directory) {
  std::set<std::int64_t> steps;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored))
    if (const auto step = step_of_directory(entry.path().filename().string())) steps.insert(*step);
  return steps;
}

// The step that DIR/latest or DIR/best names.
std::optional<std::int64_t> named_step(const std::string& directory, const char* file) {
  const auto text = read_text_file((fs::path(directory) / file).string());
  if (!text) return std::nullopt;
  return step_of_directory(std::string_view(*text).substr(0, text->find('\n')));
}

}  // namespace

CheckpointSeries::CheckpointSeries(SeriesOptions options, std::optional<std::int64_t> resumed)
    : options_(std::move(options)) {
  if (!resumed) return;
  for (const std::int64_t step : steps_in(options_.directory))
    if (step <= *resumed) own_.insert(step);
  best_ = named_step(options_.directory, best_file_name);
  if (best_ && !own_.contains(*best_)) best_.reset();
}

Result<std::string> CheckpointSeries::save(Residence& residence, const Progress& progress,
                                           const nlohmann::json& config, bool best) {
  const double begin = now_seconds();
  const fs::path directory(options_.directory);
  const std::string name = step_directory_name(progress.step);
  if (newest_ != progress.step) {
    FATHOM_CHECK(write_checkpoint(options_.directory, residence, progress, config, options_.ranks));
    if (first_rank()) FATHOM_CHECK(copy_model_files(options_.model, options_.directory));
    own_.erase(own_.upper_bound(progress.step), own_.end());
    own_.insert(progress.step);
    newest_ = progress.step;
    ++saved_;
  }
  if (best) {
    if (first_rank())
      FATHOM_CHECK(write_text_file((directory / best_file_name).string(), name + "\n"));
    best_ = progress.step;
  }
  std::error_code ignored;
  // A store that --out referred to before is not this run's.
  if (!options_.beside_store && first_rank()) fs::remove(directory / store_reference_name, ignored);
  remove_others();
  seconds_ += now_seconds() - begin;
  return (directory / name).string();
}

void CheckpointSeries::hand_over(std::int64_t step) {
  if (best_ != step) own_.erase(step);
  remove_others();
}

void CheckpointSeries::remove_others() const {
  if (!first_rank()) return;
  const fs::path directory(options_.directory);
  std::error_code ignored;
  for (const char* file : {latest_file_name, best_file_name}) {
    const auto step = named_step(options_.directory, file);
    if (step && !own_.contains(*step)) fs::remove(directory / file, ignored);
  }
  for (const std::int64_t step :
       expendable_steps(steps_in(options_.directory), own_, options_.keep_last, best_))
    fs::remove_all(directory / step_directory_name(step), ignored);
  // What a run that was killed while it saved has left.
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(step_prefix) && name.ends_with(".partial"))
      fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace fathom::engine
