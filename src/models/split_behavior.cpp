// SPDX-License-Identifier: Apache-2.0
#include "models/split_behavior.hpp"

namespace fathom::models {

std::optional<SplitBehavior> split_behavior(std::string_view name) {
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  return std::nullopt;
}

bool Splitter::joins(bool delimiter) const {
  switch (behavior_) {
    case SplitBehavior::contiguous: return delimiter == last_;
    case SplitBehavior::merged_with_previous: return delimiter && !last_;
    case SplitBehavior::merged_with_next: return !delimiter && last_;
    case SplitBehavior::removed:
    case SplitBehavior::isolated: break;
  }
  return false;
}

void Splitter::push(std::string_view part, bool delimiter) {
  if (behavior_ == SplitBehavior::removed && delimiter) return;
  if (held_ && joins(delimiter)) {
    held_ = std::string_view(held_->data(), held_->size() + part.size());
  } else {
    finish();
    held_ = part;
  }
  last_ = delimiter;
}

void Splitter::finish() {
  if (held_ && !held_->empty()) emit_(*held_);
  held_.reset();
}

}  // namespace fathom::models
