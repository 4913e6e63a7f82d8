// SPDX-License-Identifier: Apache-2.0
//
// How a Dataset's documents become rows.
#include <algorithm>

#include "base/assert.hpp"
#include "models/dataset.hpp"

namespace fathom::models {
namespace {

constexpr std::int64_t ignored_target = -100;

}  // namespace

void Dataset::cut() {
  const bool pads = options_.packing == Packing::pad ||
                    (options_.packing == Packing::automatic && !ignored_.empty());
  if (pads)
    cut_padded();
  else
    cut_joined();
  ends_ = {};
  rows_.shrink_to_fit();
  order_.batch = options_.batch;
  order_.shuffle = options_.shuffle;
  order_.seed = options_.seed;
}

void Dataset::cut_joined() {
  const std::uint64_t window = options_.sequence_length + 1;
  order_.rows = tokens() / window;
  dropped_ = tokens() - order_.rows * window;
  if (ignored_.empty()) return;
  for (std::uint64_t k = 0; k < order_.rows; ++k) {
    const Row row{k * window, window};
    if (has_targets(row))
      rows_.push_back(row);
    else
      dropped_ += window;
  }
  order_.rows = rows_.size();
}

void Dataset::cut_padded() {
  const std::uint64_t window = options_.sequence_length + 1;
  std::uint64_t begin = 0;
  for (const std::uint64_t end : ends_) {
    bool whole = true;  // every token of the document is learned
    for (std::uint64_t t = begin; t < end && whole; ++t) whole = learned(t);
    // Behind its prompt's row the rest of a completion would lack the prompt.
    const std::uint64_t stop = whole ? end : std::min(end, begin + window);
    dropped_ += end - stop;
    for (std::uint64_t at = begin; at < stop; at += window) {
      const Row row{at, std::min(window, stop - at)};
      if (has_targets(row))
        rows_.push_back(row);
      else
        dropped_ += row.length;
    }
    begin = end;
  }
  order_.rows = rows_.size();
}

// The first token of a row is never a target.
bool Dataset::has_targets(const Row& row) const {
  for (std::uint64_t i = 1; i < row.length; ++i)
    if (learned(row.begin + i)) return true;
  return false;
}

Dataset::Row Dataset::at(std::uint64_t index) const {
  const std::uint64_t place = order_.row(index), window = options_.sequence_length + 1;
  return rows_.empty() ? Row{place * window, window} : rows_[place];
}

std::int64_t Dataset::id(std::uint64_t token) const {
  return std::visit([&](const auto& ids) { return std::int64_t{ids[token]}; }, ids_);
}

void Dataset::window(std::uint64_t index, std::span<std::int64_t> out) const {
  FATHOM_ASSERT(out.size() == options_.sequence_length + 1, "a row has sequence_length + 1 ids");
  const Row row = at(index);
  std::ranges::fill(out, options_.padding);
  std::visit(
      [&](const auto& ids) {
        std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(row.begin), row.length, out.begin());
      },
      ids_);
}

void Dataset::row(std::uint64_t index, std::span<std::int64_t> ids,
                  std::span<std::int64_t> targets) const {
  const std::uint64_t length = options_.sequence_length;
  FATHOM_ASSERT(ids.size() == length && targets.size() == length, "rows of sequence_length");
  const Row row = at(index);
  for (std::uint64_t i = 0; i < length; ++i) {
    ids[i] = i < row.length ? id(row.begin + i) : options_.padding;
    const bool counts = i + 1 < row.length && learned(row.begin + i + 1);
    targets[i] = counts ? id(row.begin + i + 1) : ignored_target;
  }
}

std::uint64_t Dataset::memory_bytes() const {
  return std::visit([](const auto& ids) { return std::uint64_t{ids.capacity() * sizeof ids[0]}; },
                    ids_) +
         ignored_.capacity() / 8 + rows_.capacity() * sizeof(Row);
}

}  // namespace fathom::models
