// SPDX-License-Identifier: Apache-2.0
//
// RunState: where the state of a training run comes from, and where it is kept.
//
// Purpose      A run begins at step 0 with a directory's weights or random ones, or goes on from a
//              checkpoint: of --out, of another directory, in the durable store that it was in or
//              in a new one. find_start() decides and refuses before anything is allocated or
//              created; load() brings the state to where the plan wants it.
// Ownership    Owns model, residence, store. Borrows options and setup; they outlive it.
// Threads      One thread drives it.
//
//   RunState state(options, setup);
//   FATHOM_CHECK(state.find_start());
//   FATHOM_CHECK(state.load());
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/checkpoint.hpp"
#include "engine/durable_state.hpp"
#include "engine/initial_state.hpp"
#include "engine/run.hpp"
#include "models/block.hpp"

namespace fathom::engine {

class RunState {
 public:
  // `model`: the caller's blocks instead of those of setup.spec.family.
  RunState(const TrainOptions& options, const TrainingSetup& setup,
           std::optional<models::Model> model = {});

  Result<void> find_start();
  Result<void> load();
  // With a durable store: from here on --out knows where the state lies, and a killed run can be
  // resumed.
  Result<void> begin_commits();

  // Of the start: step 0, or what is resumed.
  const Progress& start() const { return start_; }
  bool resumed() const { return resumed_; }
  // Whether the checkpoints that lie in --out are this run's own.
  bool continues_output() const { return resumed_ && from_output_; }
  // Whether the run goes on in the durable store that it began in.
  bool in_place() const { return in_place_; }
  const std::string& resumed_from() const { return resumed_from_; }

  const models::Model& model() const { return *model_; }
  Residence& residence() { return *residence_; }
  DurableState* durable() { return durable_ ? &*durable_ : nullptr; }
  std::uint64_t bytes_before() const { return baseline_; }  // resident set without the state

 private:
  Result<void> open_weights();
  Result<void> allocate();
  Result<swap::DurableFiles> open_store();
  Result<void> load_state();
  Result<void> check_optimizer() const;

  const TrainOptions& options_;
  const TrainingSetup& setup_;
  const config::Config& config_;
  Progress start_;
  bool resumed_ = false, from_output_ = false;
  bool in_place_ = false;
  std::string resumed_from_;
  std::optional<Checkpoint> checkpoint_;
  std::optional<models::SafetensorsReader> reader_;  // while loading, with what reads from it
  ParameterSource source_;
  std::optional<models::Model> model_;
  std::unique_ptr<Residence> residence_;
  std::optional<DurableState> durable_;
  std::uint64_t baseline_ = 0;
};

}  // namespace fathom::engine
