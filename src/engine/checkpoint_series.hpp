// SPDX-License-Identifier: Apache-2.0
//
// CheckpointSeries: the checkpoints that a run leaves in --out while it goes on.
//
// Purpose      Each is complete before `latest`, and `best` where it is the best, name it, and only
//              then are older ones removed: whatever happens, what these files name is whole. The
//              last `keep_last` stay, and the best. Those of other runs, and of steps that this
//              run has yet to take (it was resumed from an earlier one), are not its own: they go
//              with the first save.
// Cost         A step directory is a copy of the state. Where the state is in a durable store the
//              newest committed step costs nothing more (its slots flip); step directories beside
//              it are for keeping earlier ones.
// Threads      The engine's thread.
//
//   CheckpointSeries series({.directory = out, .model = model, .keep_last = 3}, resumed_step);
//   FATHOM_ASSIGN(const std::string path, series.save(residence, progress, config));
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

#include "engine/checkpoint.hpp"

namespace fathom::engine {

struct SeriesOptions {
  std::string directory = {};
  std::string model = {};  // whose small files are copied beside the steps
  std::uint64_t keep_last = 1;
  bool beside_store = false;  // --out refers to a durable store, which holds the newest step
  comm::Communicator* ranks = nullptr;  // of several: all save, the first does what one does
};

class CheckpointSeries {
 public:
  // `resumed`: what lies in the directory up to this step belongs to the run.
  CheckpointSeries(SeriesOptions options, std::optional<std::int64_t> resumed);

  // All updates must be flushed. Returns the step's directory. A step that was saved by this run
  // before is not written again.
  Result<std::string> save(Residence& residence, const Progress& progress,
                           const nlohmann::json& config, bool best = false);
  // A new store has committed `step`: its directory has done its duty, unless it is the best, and
  // what is not the run's goes.
  void hand_over(std::int64_t step);

  std::uint64_t saved() const { return saved_; }
  double seconds() const { return seconds_; }  // spent saving

 private:
  bool first_rank() const { return options_.ranks == nullptr || options_.ranks->rank() == 0; }
  void remove_others() const;

  SeriesOptions options_;
  std::set<std::int64_t> own_;
  std::optional<std::int64_t> best_, newest_;
  std::uint64_t saved_ = 0;
  double seconds_ = 0;
};

}  // namespace fathom::engine
