// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/hazards.hpp"

#include <algorithm>

#include "base/assert.hpp"

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

void Hazards::Latest::add(OpId op, const StepProgram& program) {
  const Op& added = program.ops[op];
  for (std::uint32_t i = 0; i < size_; ++i) {
    if (ops_[i] == op) return;
    if (added.is_transfer() || program.ops[ops_[i]].resource != added.resource) continue;
    ops_[i] = op;
    return;
  }
  FATHOM_ASSERT(size_ < ops_.size(), "few transfers touch the same bytes between two writes");
  ops_[size_++] = op;
}

Hazards::Part& Hazards::part_of(Record& record, std::uint32_t part) {
  if (record.parts.size() <= part) record.parts.resize(part + 1);
  return record.parts[part];
}

void Hazards::read(OpId op, Place place, std::uint32_t part) {
  Part& p = part_of(records_[place], part);
  if (p.last_write != nobody)
    after(op, p.last_write, 0);
  else
    p.early_reads.add(op, program_);
  p.reads.add(op, program_);
}

void Hazards::write(OpId op, Place place, std::uint32_t part) {
  Record& record = records_[place];
  Part& p = part_of(record, part);
  if (p.last_write != nobody) {
    after(op, p.last_write, 0);
  } else {
    for (const OpId user : record.before) after(op, user, 0);
    p.first_write = op;
  }
  for (const OpId reader : p.reads) after(op, reader, 0);
  p.last_write = op;
  p.reads.clear();
}

void Hazards::read_all(OpId op, Place place, std::uint32_t parts) {
  for (std::uint32_t i = 0; i < parts; ++i) read(op, place, i);
}
void Hazards::write_all(OpId op, Place place, std::uint32_t parts) {
  for (std::uint32_t i = 0; i < parts; ++i) write(op, place, i);
}

// A part that was read since it was written: the readers come after the write.
void Hazards::list_users(const Record& record, std::vector<OpId>& users) const {
  users.clear();
  const auto add = [&](OpId op) {
    const Op& added = program_.ops[op];
    for (OpId& user : users) {
      if (user == op) return;
      if (added.is_transfer() || program_.ops[user].resource != added.resource) continue;
      user = std::max(user, op);
      return;
    }
    users.push_back(op);
  };
  for (const Part& part : record.parts) {
    if (part.last_write != nobody && part.reads.empty()) add(part.last_write);
    for (const OpId reader : part.reads) add(reader);
  }
}

void Hazards::refill(Place place) {
  Record& record = records_[place];
  record.changes = true;
  if (record.parts.empty()) return;
  if (!record.refilled)
    for (const Part& part : record.parts)
      if (part.first_write != nobody) record.first_writes.push_back(part.first_write);
  list_users(record, record.before);
  record.refilled = true;
  record.parts.clear();
}

void Hazards::finish() {
  for (Record& record : records_) {
    if (record.changes) {
      if (!record.refilled)
        for (const Part& part : record.parts)
          if (part.first_write != nobody) record.first_writes.push_back(part.first_write);
      list_users(record, scratch_);
      for (const OpId first : record.first_writes)
        for (const OpId user : scratch_) after(first, user, 1);
      continue;
    }
    for (const Part& part : record.parts) {
      if (part.last_write == nobody) continue;
      for (const OpId reader : part.early_reads) after(reader, part.last_write, 1);
      // What is read before the first write comes, in its turn, after the last one before it.
      if (part.reads.empty()) after(part.first_write, part.last_write, 1);
      for (const OpId reader : part.reads) after(part.first_write, reader, 1);
    }
  }
}

}  // namespace fathom::engine
