// SPDX-License-Identifier: Apache-2.0
#include "engine/durable_state.hpp"

#include <algorithm>

#include <xxhash.h>

#include "base/clock.hpp"
#include "engine/checkpoint_format.hpp"
#include "engine/store_reference.hpp"

namespace fathom::engine {

DurableState::DurableState(Residence& residence, std::uint64_t interval,
                           std::uint64_t config_digest)
    : residence_(residence), interval_(interval), digest_(config_digest) {
  if (const swap::CommitState* committed = residence.store()->committed()) {
    step_ = committed->step;
    updates_ = committed->updates;
  }
}

Result<void> DurableState::commit_last() {
  if (!last_ || last_->step == step_) return {};
  return commit(*last_);
}

Result<void> DurableState::commit(const Progress& progress) {
  const double begin = now_seconds();
  // A step that was skipped has changed nothing.
  if (progress.updates != updates_) FATHOM_CHECK(residence_.write_pinned());
  swap::CommitState state{.step = progress.step,
                          .updates = progress.updates,
                          .tokens = progress.tokens,
                          .next_window = progress.next_window,
                          .seed = progress.seed,
                          .config_digest = digest_};
  if (const auto& scale = progress.loss_scale) {
    state.loss_scale = scale->scale;
    state.scale_iteration = scale->iteration;
    state.scale_last_overflow = scale->last_overflow;
    state.scale_remainder = scale->remainder;
  }
  FATHOM_CHECK(residence_.store()->commit(state));
  step_ = progress.step;
  updates_ = progress.updates;
  ++commits_;
  seconds_ += now_seconds() - begin;
  return {};
}

std::string describe_store(const Plan& plan, const nlohmann::json& config) {
  return nlohmann::json{{"units", describe_units(plan)}, {"config", config}}.dump();
}

std::uint64_t digest_of(const nlohmann::json& config) {
  const std::string text = config.dump();
  return XXH3_64bits(text.data(), text.size());
}

swap::Layout durable_layout(const Plan& plan) {
  return swap::whole_layout(plan.layout, plan.input.path_weights);
}

bool same_chunks(const swap::Layout& a, const swap::Layout& b) {
  return a.sections().bytes == b.sections().bytes && a.chunk_elements() == b.chunk_elements() &&
         std::ranges::equal(a.file_bytes(), b.file_bytes()) &&
         std::ranges::equal(a.chunks(), b.chunks(), [](const auto& x, const auto& y) {
           return x.unit == y.unit && x.first == y.first && x.elements == y.elements &&
                  x.stored == y.stored && x.path == y.path && x.offset == y.offset;
         });
}

std::optional<swap::Layout> stored_layout(const std::string& directory) {
  const auto reference = read_store_reference(directory);
  if (!reference || !*reference) return std::nullopt;
  const auto files = swap::DurableFiles::open((*reference)->directories, swap::Access::look);
  if (!files) return std::nullopt;
  return files->layout();
}

}  // namespace fathom::engine
