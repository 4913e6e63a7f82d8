// SPDX-License-Identifier: Apache-2.0
#include "engine/run_state.hpp"

#include <filesystem>

#include <fmt/format.h>

#include "base/log.hpp"
#include "engine/host_allocator.hpp"
#include "engine/model_files.hpp"
#include "engine/store_reference.hpp"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

Result<std::string> absolute(const std::string& path) {
  std::error_code status;
  const fs::path full = fs::absolute(path, status);
  if (status)
    return fail(
        Error(Errc::io, "find the output directory").on(path).because_errno(status.value()));
  return full.lexically_normal().string();
}

// Whether `path` is `directory` or lies in it.
bool within(const std::string& path, const std::string& directory) {
  const auto full = absolute(path), base = absolute(directory);
  if (!full || !base) return false;
  const fs::path relative = fs::path(*full).lexically_relative(*base);
  return !relative.empty() && *relative.begin() != "..";
}

}  // namespace

RunState::RunState(const TrainOptions& options, const TrainingSetup& setup,
                   std::optional<models::Model> model)
    : options_(options), setup_(setup), config_(setup.config.config), model_(std::move(model)) {}

Result<void> RunState::find_start() {
  start_.seed = options_.seed;
  const std::optional<std::string> from = resume_point(options_);
  if (!options_.out.empty() && from != options_.out && Checkpoint::exists(options_.out)) {
    auto opened = Checkpoint::open(options_.out);
    if (!opened && opened.error().code() != Errc::not_found) return fail(std::move(opened).error());
    if (!opened)
      log::warning("{}; it is replaced when this run commits", opened.error().message());
    else if (!from || !within(*from, options_.out))
      log::warning(
          "{} holds a checkpoint of step {}; it is replaced when this run commits (--resume "
          "continues it)",
          options_.out, opened->progress().step);
  }
  if (!from) {
    if (options_.resume) log::info("nothing is committed in {}: starting at step 0", options_.out);
    return open_weights();
  }
  FATHOM_ASSIGN(Checkpoint found, Checkpoint::open(*from));
  resumed_ = true;
  resumed_from_ = found.path();
  from_output_ = within(*from, options_.out);
  start_ = found.progress();
  if (start_.seed != options_.seed)
    log::note(fmt::format("the run was started with --seed {}; it goes on with that", start_.seed));
  log::info("resuming after step {} from {}", start_.step, found.path());
  checkpoint_.emplace(std::move(found));
  return {};
}

// Before anything is allocated or created: weights that do not fit the model are refused here.
Result<void> RunState::open_weights() {
  if (!has_weights(options_.model)) {
    log::info("no weights in {}: random initialisation with seed {}",
              options_.model.empty() ? "the options" : options_.model, options_.seed);
    source_ = random_source(options_.seed);
    return {};
  }
  FATHOM_ASSIGN(models::SafetensorsReader reader, models::SafetensorsReader::open(options_.model));
  reader_.emplace(std::move(reader));
  FATHOM_ASSIGN(source_, safetensors_source(*reader_, setup_.spec));
  return {};
}

Result<void> RunState::load() {
  FATHOM_CHECK(allocate());
  return load_state();
}

Result<void> RunState::allocate() {
  if (!model_) {
    FATHOM_ASSIGN(model_, models::make_model(setup_.spec));
  }
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
Result<swap::DurableFiles> RunState::open_store() {
  FATHOM_ASSIGN(const std::string output, absolute(options_.out));
  if (checkpoint_ && checkpoint_->store() != nullptr && resume_point(options_) == options_.out) {
    const std::vector<std::string> directories = checkpoint_->store()->files().directories();
    if (same_chunks(checkpoint_->store()->layout(), durable_layout(setup_.plan))) {
      checkpoint_.reset();  // its shared lock would keep us out, too
      in_place_ = true;
      FATHOM_ASSIGN(auto files, swap::DurableFiles::open(directories, swap::Access::run));
      if (!files.committed() || files.committed()->state.step != start_.step)
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

Result<void> RunState::load_state() {
  if (in_place_) return residence_->read_pinned();
  if (checkpoint_) {
    FATHOM_CHECK(check_optimizer());
    FATHOM_CHECK(load_checkpoint(*checkpoint_, *residence_));
    // A store's lock is held on to until the state has another home.
    if (checkpoint_->store() == nullptr) checkpoint_.reset();
    return {};
  }
  FATHOM_CHECK(fill_residence(*residence_, source_, false, worker_pool()));
  reader_.reset();
  source_ = {};
  return {};
}

// States of another rule may have the same sizes and mean something else.
Result<void> RunState::check_optimizer() const {
  const auto kind = [](const std::string& type) { return type == "AdamW" ? "Adam" : type; };
  const json::json_pointer path("/optimizer/type");
  const std::string before = checkpoint_->config().value(path, std::string("AdamW"));
  const std::string now = to_string(config_.optimizer.type);
  if (kind(before) == kind(now)) return {};
  return fail(Error(Errc::bad_config, "resume from a checkpoint")
                  .on(checkpoint_->path())
                  .because(fmt::format("its states are {}'s, and the optimizer is {}", before, now))
                  .remedy("name the optimizer that the run was started with"));
}

Result<void> RunState::begin_commits() {
  if (residence_->store() == nullptr || residence_->store()->durable() == nullptr) return {};
  durable_.emplace(*residence_, config_.fathom.commit_interval, digest_of(setup_.config.resolved));
  if (in_place_) return {};
  FATHOM_CHECK(durable_->commit(start_));
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
  return {};
}

}  // namespace fathom::engine
