// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/hazards.hpp"

#include <algorithm>
#include <utility>

namespace fathom::engine {

// What runs in list order anyway needs no edge, and of several that do the last stands for all.
void Hazards::after(OpId op, OpId earlier, std::uint32_t lag) {
  Op& later = program_.ops[op];
  const Op& first = program_.ops[earlier];
  if (op == earlier && lag == 0) return;
  if (later.resource == first.resource && !later.is_transfer()) return;
  for (swap::Dependency& d : later.after) {
    if (d.lag != lag) continue;
    if (d.node == earlier) return;
    if (first.is_transfer() || program_.ops[d.node].resource != first.resource) continue;
    d.node = std::max(d.node, earlier);
    return;
  }
  later.after.push_back({earlier, lag});
}

Hazards::Part& Hazards::part_of(Record& record, std::uint32_t part) {
  if (record.now.parts.size() <= part) record.now.parts.resize(part + 1);
  if (record.early_reads.size() <= part) {
    record.early_reads.resize(part + 1);
    record.first_write.resize(part + 1, -1);
  }
  return record.now.parts[part];
}

void Hazards::read(OpId op, Place place, std::uint32_t part) {
  Record& record = records_[place];
  Part& p = part_of(record, part);
  if (p.last_write >= 0)
    after(op, static_cast<OpId>(p.last_write), 0);
  else
    record.early_reads[part].push_back(op);
  p.reads.push_back(op);
}

void Hazards::write(OpId op, Place place, std::uint32_t part) {
  Record& record = records_[place];
  Part& p = part_of(record, part);
  if (p.last_write >= 0) after(op, static_cast<OpId>(p.last_write), 0);
  for (const OpId reader : p.reads) after(op, reader, 0);
  if (p.last_write < 0) {
    for (const OpId user : record.now.before) after(op, user, 0);
    if (!record.now.refilled) record.first_write[part] = op;
  }
  p.last_write = op;
  p.reads.clear();
}

void Hazards::read_all(OpId op, Place place, std::uint32_t parts) {
  for (std::uint32_t i = 0; i < parts; ++i) read(op, place, i);
}
void Hazards::write_all(OpId op, Place place, std::uint32_t parts) {
  for (std::uint32_t i = 0; i < parts; ++i) write(op, place, i);
}

std::vector<OpId> Hazards::users(const Contents& contents) {
  std::vector<OpId> all;
  for (const Part& part : contents.parts) {
    // A part that was read since it was written: the readers come after the write.
    if (part.last_write >= 0 && part.reads.empty())
      all.push_back(static_cast<OpId>(part.last_write));
    all.insert(all.end(), part.reads.begin(), part.reads.end());
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

void Hazards::refill(Place place) {
  Record& record = records_[place];
  record.changes = true;
  if (record.now.parts.empty()) return;
  Contents next;
  next.before = users(record.now);
  next.refilled = true;
  record.now = std::move(next);
}

void Hazards::finish() {
  for (const Record& record : records_) {
    if (record.changes) {
      const std::vector<OpId> last = users(record.now);
      for (std::size_t part = 0; part < record.first_write.size(); ++part)
        if (record.first_write[part] >= 0)
          for (const OpId user : last) after(static_cast<OpId>(record.first_write[part]), user, 1);
      continue;
    }
    for (std::size_t i = 0; i < record.now.parts.size(); ++i) {
      const Part& part = record.now.parts[i];
      if (part.last_write >= 0)
        for (const OpId reader : record.early_reads[i])
          after(reader, static_cast<OpId>(part.last_write), 1);
      if (record.first_write[i] < 0) continue;
      // Reads before the first write of a pass come, in their turn, after the last one before it.
      if (part.reads.empty())
        after(static_cast<OpId>(record.first_write[i]), static_cast<OpId>(part.last_write), 1);
      for (const OpId reader : part.reads)
        after(static_cast<OpId>(record.first_write[i]), reader, 1);
    }
  }
}

}  // namespace fathom::engine
