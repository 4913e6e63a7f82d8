// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/assert.hpp"
#include "swap/store_state.hpp"

namespace fathom::swap {

// The store goes on from what is committed.
void Store::State::restore(const Record& committed) {
  for (std::size_t i = 0; i < records.size(); ++i) {
    const SlotEntry& entry = committed.slots[i];
    if (entry.generation == 0) continue;
    records[i].generation = entry.generation;
    records[i].slot = records[i].committed = entry.slot;
    records[i].intact = true;
  }
  hashes.restore(committed.hashes);
}

// Data, then journal, then the flip in memory: whatever stops this before the journal's record is
// whole on the device leaves the commit before.
Result<void> Store::State::commit(const CommitState& state) {
  FATHOM_ASSERT(durable.has_value(), "only a durable store has commits");
  {
    const std::lock_guard lock(mutex);
    if (failure) return fail(*failure);
    commit_record.id = durable->superblock().id;
    commit_record.sequence = durable->committed() ? durable->committed()->sequence + 1 : 1;
    commit_record.state = state;
    commit_record.slots.resize(records.size());
    for (std::size_t i = 0; i < records.size(); ++i) {
      const auto chunk = static_cast<ChunkId>(i / section_count);
      const Section section = all_sections[i % section_count];
      if (!has(layout.chunk(chunk).stored, section)) continue;
      FATHOM_ASSERT(!records[i].writing, "nothing is written while a step is committed");
      if (!records[i].intact) return fail(never_written(chunk, section));
      commit_record.slots[i] = {records[i].generation, records[i].slot};
    }
    commit_record.hashes.assign(hashes.all().begin(), hashes.all().end());
  }
  Result<void> done = durable->commit(commit_record);
  const std::lock_guard lock(mutex);
  if (!done) {
    failure = done.error();
    return done;
  }
  for (SectionRecord& kept : records)
    if (kept.generation != 0) kept.committed = kept.slot;
  return {};
}

}  // namespace fathom::swap
