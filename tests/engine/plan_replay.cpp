// SPDX-License-Identifier: Apache-2.0
#include "engine/plan_replay.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace fathom::engine::testing_replay {

using swap::ChunkId;

Replay::Replay(const Plan& plan, unsigned seed, bool pending)
    : plan_(plan),
      random_(seed),
      spaces_(2 + 2 * plan.layout.chunks().size()),
      weights_(plan.chunks.size(), 0),
      states_(plan.chunks.size(), 0) {
  for (ChunkId c = 0; c < plan.chunks.size(); ++c) {
    const std::uint32_t unit = plan.layout.chunk(c).unit;
    const UnitPlan& up = plan.units[unit];
    if (up.weights() == Tier::nvme)
      put(file(c, false), {'W', c, 0});
    else
      put(buffer(up.pinned_weights, plan.weights_offset(up.pinned_weights, c),
                 plan.layout.payload_bytes(c, swap::weights_mask)),
          {'W', c, 0});
    if (plan.chunks[c].streamed != 0) put(file(c, true), {'S', c, 0});
    if (plan.chunks[c].pinned_states != no_buffer)
      put(buffer(plan.chunks[c].pinned_states, 0, plan.buffers[plan.chunks[c].pinned_states].bytes),
          {'S', c, 0});
    if (!pending || !up.lazy) continue;
    const BufferId gradient = plan.chunks[c].states_on_device ? up.device_gradient : up.gradient;
    put(buffer(gradient, plan.layout.chunk(c).first * plan.input.gradient_bytes,
               plan.layout.chunk(c).elements * plan.input.gradient_bytes),
        {'G', unit, -1});
  }
}

Replay::Range Replay::buffer(BufferId id, std::uint64_t offset, std::uint64_t bytes) const {
  const Buffer& b = plan_.buffers.at(id);
  return {b.tier == Tier::device ? 1U : 0U, b.offset + offset,
          // Outside the buffer it would be somebody else's: an end beyond is a conflict of its own.
          b.offset + std::min(b.bytes + 1, offset + bytes)};
}

Replay::Range Replay::weights(BufferId id, std::uint32_t unit) const {
  return buffer(id, 0,
                plan_.units[unit].flat.elements * plan_.layout.sections().of(swap::Section::W));
}

Replay::Range Replay::file(ChunkId chunk, bool states) const {
  return {2 + 2 * chunk + (states ? 1 : 0), 0, 1};
}

void Replay::problem(const std::string& what, const Op& op) {
  if (problems_.size() > 2000) return;
  problems_ +=
      fmt::format("{} {} unit {} chunk {} in pass {}: {}\n", to_string(op.kind),
                  to_string(op.resource), op.unit, static_cast<int>(op.chunk), pass_, what);
}

void Replay::put(const Range& range, const Tag& tag) {
  auto& space = spaces_[range.space];
  // Cut what overlaps.
  auto at = space.lower_bound(range.begin);
  if (at != space.begin()) {
    auto before = std::prev(at);
    if (before->second.end > range.begin) {
      const Stored old = before->second;
      before->second.end = range.begin;
      if (old.end > range.end) space[range.end] = old;
    }
  }
  at = space.lower_bound(range.begin);
  while (at != space.end() && at->first < range.end) {
    if (at->second.end > range.end) space[range.end] = at->second;
    at = space.erase(at);
  }
  space[range.begin] = {range.end, tag};
}

bool Replay::holds(const Range& range, const Tag& tag) const {
  const auto& space = spaces_[range.space];
  std::uint64_t covered = range.begin;
  auto at = space.upper_bound(range.begin);
  if (at == space.begin()) return false;
  for (--at; at != space.end() && at->first <= covered && covered < range.end; ++at) {
    if (at->second.end <= covered) continue;
    if (!(at->second.tag == tag)) return false;
    covered = at->second.end;
  }
  return covered >= range.end;
}

Replay::Tag Replay::content(const Range& range) const {
  const auto& space = spaces_[range.space];
  auto at = space.upper_bound(range.begin);
  if (at == space.begin()) return {};
  --at;
  return at->second.end >= range.end ? at->second.tag : Tag{};
}

Replay::Range Replay::inputs(const Op& op, bool in, std::uint32_t unit) const {
  if (!cuda()) {
    // One buffer a micro-batch, next to each other.
    const Buffer& first = plan_.buffers[plan_.units[unit].inputs.front()];
    const Buffer& last = plan_.buffers[plan_.units[unit].inputs.back()];
    return {0, first.offset, last.offset + last.bytes};
  }
  return buffer(in ? op.carry_in : op.carry_out, 0, plan_.input_stride * plan_.input.accumulation);
}

void Replay::copied(const Op& op, std::vector<Access>& out) {
  const Range from = buffer(op.from, op.from_offset, op.bytes);
  const Range to = buffer(op.to, op.to_offset, op.bytes);
  const bool down = op.resource == Resource::d2h;
  if (from.space != (down ? 1U : 0U) || to.space != (down ? 0U : 1U))
    problem("copies the wrong way", op);
  Tag tag = content(from);
  // A copy of part of a unit's gradient or inputs carries the whole's tag.
  if (op.sections == swap::weights_mask) tag = {'W', op.chunk, weights_[op.chunk]};
  if (op.block_inputs) tag = {'I', op.unit, pass_};
  if (op.kind == OpKind::reduce) tag = {'G', op.unit, pass_};
  // fp32 gradients are their accumulators.
  const bool sum =
      op.kind == OpKind::reduce && plan_.buffers[op.from].kind == BufferKind::accumulator;
  out.push_back({from, false, true, sum ? Tag{'A', op.unit, pass_} : tag, {}});
  out.push_back({to, true, false, {}, tag});
}

std::vector<Replay::Access> Replay::accesses(const Op& op, std::int64_t pass) {
  std::vector<Access> out;
  const std::uint64_t gradient_bytes = plan_.input.gradient_bytes;
  const bool lazy = plan_.units[op.unit].lazy;
  const std::uint64_t elements = plan_.units[op.unit].flat.elements;
  const auto reads_weights = [&](BufferId id, std::uint32_t unit) {
    for (ChunkId c = plan_.layout.first_chunk(unit); c < plan_.layout.end_chunk(unit); ++c)
      out.push_back({buffer(id, plan_.weights_offset(id, c),
                            plan_.layout.payload_bytes(c, swap::weights_mask)),
                     false,
                     true,
                     Tag{'W', c, weights_[c]},
                     {}});
  };
  if (op.is_copy()) {
    copied(op, out);
    return out;
  }
  if (op.is_transfer()) {
    const bool states = op.sections != swap::weights_mask;
    const Range memory =
        states ? buffer(op.states, 0, plan_.layout.padded_bytes(op.chunk, op.sections))
               : buffer(op.weights, plan_.weights_offset(op.weights, op.chunk), op.bytes);
    const Range stored = file(op.chunk, states);
    Tag tag;
    if (op.block_inputs)
      tag = {'I', op.unit, pass};
    else
      tag = states ? Tag{'S', op.chunk, states_[op.chunk]} : Tag{'W', op.chunk, weights_[op.chunk]};
    const bool reads = op.kind == OpKind::fetch;
    out.push_back({reads ? stored : memory, false, true, tag, {}});
    out.push_back({reads ? memory : stored, true, false, {}, tag});
    return out;
  }
  switch (op.kind) {
    case OpKind::land: {
      reads_weights(op.weights, op.unit);
      out.push_back({buffer(op.widened, 0, elements * 4), true, false, {}, {'F', op.unit, pass}});
      break;
    }
    case OpKind::forward:
    case OpKind::backward: {
      const bool head = op.unit + 1 == plan_.units.size();
      const bool back = op.kind == OpKind::backward;
      if (op.widened != no_buffer)
        out.push_back(
            {buffer(op.widened, 0, elements * 4), false, true, Tag{'F', op.unit, pass}, {}});
      else if (op.weights != no_buffer && (cuda() || !back || op.unit != 0))
        reads_weights(op.weights, op.unit);
      if (op.tied_weights != no_buffer) {
        if (op.widened != no_buffer)
          out.push_back({buffer(op.tied_weights, 0, plan_.units[0].flat.elements * 4),
                         false,
                         true,
                         Tag{'F', 0, pass},
                         {}});
        else
          reads_weights(op.tied_weights, 0);
      }
      if (plan_.input.mode == Mode::inference) break;
      if (op.unit != 0)
        out.push_back(
            {inputs(op, true, op.unit), back, true, Tag{'I', op.unit, pass}, {'D', op.unit, pass}});
      if (!head)
        out.push_back({inputs(op, false, op.unit + 1),
                       !back,
                       back,
                       Tag{'D', op.unit + 1, pass},
                       {'I', op.unit + 1, pass}});
      if (!back) break;
      const BufferId sum = cuda() ? op.accumulator : plan_.units[op.unit].accumulator;
      out.push_back({buffer(sum, 0, elements * 4),
                     true,
                     plan_.input.model.tied_head && op.unit == 0,
                     Tag{'A', 0, pass},
                     {'A', op.unit, pass}});
      if (head && plan_.input.model.tied_head)
        out.push_back({buffer(plan_.units[0].accumulator, 0, plan_.units[0].flat.elements * 4),
                       true,
                       false,
                       {},
                       {'A', 0, pass}});
      break;
    }
    case OpKind::reduce: {
      const BufferId sum = cuda() ? op.accumulator : plan_.units[op.unit].accumulator;
      const BufferId to = cuda() ? op.gradient : plan_.units[op.unit].gradient;
      const Tag tag{'G', op.unit, pass};
      const bool same = sum == to;
      out.push_back({buffer(sum, 0, elements * 4), false, true, Tag{'A', op.unit, pass}, {}});
      if (!same || plan_.buffers[to].kind == BufferKind::gradient)
        out.push_back({buffer(to, 0, elements * gradient_bytes), true, false, {}, tag});
      break;
    }
    case OpKind::update: {
      const swap::Chunk& chunk = plan_.layout.chunk(op.chunk);
      const BufferId gradient = cuda() ? op.gradient : plan_.units[op.unit].gradient;
      out.push_back({buffer(op.weights, plan_.weights_offset(op.weights, op.chunk),
                            plan_.layout.payload_bytes(op.chunk, swap::weights_mask)),
                     true,
                     true,
                     Tag{'W', op.chunk, weights_[op.chunk]},
                     {'W', op.chunk, weights_[op.chunk] + 1}});
      const bool streams = plan_.chunks[op.chunk].streamed != 0;
      const BufferId states = streams ? op.states : plan_.chunks[op.chunk].pinned_states;
      const swap::SectionMask mask =
          streams ? plan_.chunks[op.chunk].streamed
                  : static_cast<swap::SectionMask>(swap::states_mask &
                                                   plan_.layout.sections().present());
      out.push_back({buffer(states, 0, plan_.layout.padded_bytes(op.chunk, mask)),
                     true,
                     true,
                     Tag{'S', op.chunk, states_[op.chunk]},
                     {'S', op.chunk, states_[op.chunk] + 1}});
      const Tag wanted{plan_.buffers[gradient].kind == BufferKind::accumulator ? 'A' : 'G', op.unit,
                       lazy ? pass - 1 : pass};
      out.push_back(
          {buffer(gradient, chunk.first * gradient_bytes, chunk.elements * gradient_bytes),
           false,
           true,
           wanted,
           {}});
      const std::uint32_t space = op.resource == Resource::device ? 1 : 0;
      for (const Access& access : out)
        if (access.range.space != space) problem("updates what is in the other memory", op);
      ++weights_[op.chunk];
      ++states_[op.chunk];
      break;
    }
    default: break;
  }
  return out;
}

void Replay::begin(std::size_t instance, const Op& op, std::int64_t pass) {
  const std::int64_t current = pass_;
  pass_ = pass;
  Live live{instance, accesses(op, pass)};
  for (const Access& mine : live.accesses) {
    if (mine.checked && !holds(mine.range, mine.tag)) {
      const Tag found = content({mine.range.space, mine.range.begin, mine.range.begin + 1});
      problem(fmt::format("wants {}{} version {}, finds {}{} version {}", mine.tag.kind,
                          mine.tag.id, mine.tag.version, found.kind, found.id, found.version),
              op);
    }
    for (const Live& other : live_)
      for (const Access& theirs : other.accesses)
        if (mine.range.space == theirs.range.space && mine.range.begin < theirs.range.end &&
            theirs.range.begin < mine.range.end && (mine.write || theirs.write))
          problem(fmt::format("shares bytes with live operation {}", other.instance), op);
  }
  // Until it ends, what it writes is neither old nor new.
  for (const Access& access : live.accesses)
    if (access.write) put(access.range, {'?', 0, 0});
  live_.push_back(std::move(live));
  pass_ = current;
}

void Replay::end(std::size_t at) {
  for (const Access& access : live_[at].accesses)
    if (access.write) put(access.range, access.after);
  live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(at));
}

void Replay::run(const StepProgram& program, std::uint32_t passes) {
  const std::size_t count = program.ops.size();
  const std::int64_t base = pass_;
  enum : std::uint8_t { waiting, issued, live, done };
  std::vector<std::uint8_t> stage(count * passes, waiting);
  std::map<Resource, std::deque<std::size_t>> streams;
  std::size_t engine = 0;  // instance the engine thread has come to
  std::size_t left = count * passes;
  const auto op_of = [&](std::size_t i) -> const Op& { return program.ops[i % count]; };
  const auto met = [&](std::size_t i, bool host_only) {
    for (const swap::Dependency& d : op_of(i).after) {
      if (d.lag > i / count) continue;
      if (host_only && program.ops[d.node].on_stream()) continue;
      if (stage[(i / count - d.lag) * count + d.node] != done) return false;
    }
    return true;
  };
  const auto start = [&](std::size_t i) {
    stage[i] = live;
    begin(i, op_of(i), base + static_cast<std::int64_t>(i / count));
  };
  while (left != 0 && problems_.size() < 2000) {
    // The engine walks on as far as it may without computing.
    const auto streams_idle = [&] {
      for (const auto& [resource, queue] : streams)
        if (!queue.empty()) return false;
      return true;
    };
    bool may_compute = false;
    while (engine < count * passes) {
      const Op& op = op_of(engine);
      if (engine % count == 0 && engine != 0 && !streams_idle()) break;
      if (op.is_transfer()) {
        ++engine;
        continue;
      }
      if (op.on_stream()) {
        if (!met(engine, true)) break;
        stage[engine] = issued;
        streams[op.resource].push_back(engine++);
        continue;
      }
      if (stage[engine] == done) {
        ++engine;
        continue;
      }
      may_compute = stage[engine] == waiting && met(engine, false);
      break;
    }
    struct Choice {
      bool begins;
      std::size_t what;
    };
    std::vector<Choice> choices;
    for (std::size_t i = 0; i < live_.size(); ++i) choices.push_back({false, i});
    if (may_compute) choices.push_back({true, engine});
    for (const auto& [resource, queue] : streams)
      if (!queue.empty() && stage[queue.front()] == issued && met(queue.front(), false))
        choices.push_back({true, queue.front()});
    const std::size_t open = std::min<std::size_t>(passes, engine / count + 2);
    for (std::size_t i = 0; i < open * count; ++i)
      if (stage[i] == waiting && op_of(i).is_transfer() && met(i, false))
        choices.push_back({true, i});
    if (choices.empty()) {
      problems_ += fmt::format("deadlock at operation {} of {}\n", engine, count * passes);
      return;
    }
    const Choice chosen = choices[random_() % choices.size()];
    if (chosen.begins) {
      start(chosen.what);
      continue;
    }
    const std::size_t instance = live_[chosen.what].instance;
    end(chosen.what);
    stage[instance] = done;
    --left;
    const Op& op = op_of(instance);
    if (op.on_stream()) streams[op.resource].pop_front();
  }
  pass_ = base + passes;
}

void Replay::check_rest() {
  for (ChunkId c = 0; c < plan_.chunks.size(); ++c) {
    const UnitPlan& up = plan_.units[plan_.layout.chunk(c).unit];
    const Range w = up.weights() == Tier::nvme
                        ? file(c, false)
                        : buffer(up.pinned_weights, plan_.weights_offset(up.pinned_weights, c),
                                 plan_.layout.payload_bytes(c, swap::weights_mask));
    if (!holds(w, {'W', c, weights_[c]}))
      problems_ += fmt::format("W of chunk {} does not rest where it should\n", c);
    const Range s =
        plan_.chunks[c].streamed != 0 ? file(c, true) : buffer(plan_.chunks[c].pinned_states, 0, 1);
    if (!holds(s, {'S', c, states_[c]}))
      problems_ += fmt::format("states of chunk {} do not rest where they should\n", c);
  }
}

}  // namespace fathom::engine::testing_replay
