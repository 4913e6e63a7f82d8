// SPDX-License-Identifier: Apache-2.0
//
// DurableState: a training run's side of its durable store: where it lies, what a commit says.
//
// Purpose      A step is committed when every update of it is on disk. With the lazy schedule that
//              is in the forward of the next step, so the executor calls commit_last() right
//              before the head's backward: every unit is then at the state of the step before, and
//              no unit of this step has been updated yet. With the eager schedule it holds there,
//              too. State that is pinned in host memory is written then, and only then.
// Ownership    Borrows the residence, which owns the store.
// Threads      The engine's thread.
//
//   DurableState durable(residence, interval, digest);
//   FATHOM_CHECK(durable.commit(progress));        // step 0
//   durable.finished(progress);                    // after each step
//   executor.step(…, durable.due() ? [&] { return durable.commit_last(); } : {});
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "engine/checkpoint.hpp"
#include "engine/residence.hpp"

namespace fathom::engine {

class DurableState {
 public:
  DurableState(Residence& residence, std::uint64_t interval, std::uint64_t config_digest);

  // A step is computed; its updates may still be pending.
  void finished(const Progress& progress) { last_ = progress; }
  // Whether it is its turn to be committed.
  bool due() const {
    return last_ && last_->step != step_ && last_->step % static_cast<std::int64_t>(interval_) == 0;
  }
  // Commits the step that finished last, unless it is. Everything written until now must be on the
  // device and be the state of that step.
  Result<void> commit_last();
  Result<void> commit(const Progress& progress);

  std::uint64_t commits() const { return commits_; }
  double seconds() const { return seconds_; }  // spent committing

 private:
  Residence& residence_;
  std::uint64_t interval_, digest_;
  std::optional<Progress> last_;
  std::int64_t step_ = -1, updates_ = -1;  // committed
  std::uint64_t commits_ = 0;
  double seconds_ = 0;
};

// What the store's superblock says to export and inspect: units and configuration.
std::string describe_store(const Plan& plan, const nlohmann::json& config);
std::uint64_t digest_of(const nlohmann::json& config);

// The layout of a durable store for this plan: every section has space, so that it does not depend
// on what the budget puts in memory.
swap::Layout durable_layout(const Plan& plan);
bool same_chunks(const swap::Layout& a, const swap::Layout& b);

// The layout of the store that DIR refers to; nothing when there is none that can be read.
std::optional<swap::Layout> stored_layout(const std::string& directory);

}  // namespace fathom::engine
