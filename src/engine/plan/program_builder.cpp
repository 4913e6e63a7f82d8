// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/program_builder.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"

namespace fathom::engine {

namespace {

// ZeRO counts what passes a rank: a gather or a scatter of a unit is the unit, once.
std::uint64_t moved_bytes(const UnitPlan& unit, std::uint64_t element) {
  return unit.flat.elements * element;
}

}  // namespace

using swap::ChunkId;
using swap::Dependency;
using swap::SectionMask;

ProgramBuilder::ProgramBuilder(const Plan& plan, std::vector<BufferId> landing,
                               std::vector<BufferId> ring, std::vector<BufferId> widened)
    : plan_(plan),
      landing_buffers_(std::move(landing)),
      ring_buffers_(std::move(ring)),
      widened_(std::move(widened)) {}

void ProgramBuilder::reset() {
  const auto slots = [](const std::vector<BufferId>& buffers) {
    std::vector<Slot> made(buffers.size());
    for (std::size_t i = 0; i < buffers.size(); ++i) made[i].buffer = buffers[i];
    return made;
  };
  landing_ = slots(landing_buffers_);
  ring_ = slots(ring_buffers_);
  next_ring_ = 0;
  clock_ = 0;
  weight_files_.assign(plan_.chunks.size(), {});
  state_files_.assign(plan_.chunks.size(), {});
  program_ = {};
}

// Closes the cycle: what came first in this pass waits for what came last in the pass before.
StepProgram ProgramBuilder::finish() {
  for (auto* slots : {&landing_, &ring_})
    for (const Slot& slot : *slots)
      for (const OpId first : slot.first_fetches)
        for (const OpId last : slot.holders) program_.ops[first].after.push_back({last, 1});
  for (auto* files : {&weight_files_, &state_files_})
    for (const FileState& file : *files)
      if (file.last_write >= 0)
        for (const OpId read : file.early_reads)
          program_.ops[read].after.push_back({static_cast<OpId>(file.last_write), 1});
  return std::move(program_);
}

double ProgramBuilder::products(std::uint32_t unit) const {
  const PlanInput& input = plan_.input;
  return static_cast<double>(input.micro_batch * input.accumulation) *
         models::unit_products(input.model.units[unit], {input.length, input.target_length});
}

OpId ProgramBuilder::add(Op op) {
  program_.ops.push_back(std::move(op));
  return static_cast<OpId>(program_.ops.size() - 1);
}

ProgramBuilder::FileState& ProgramBuilder::file_state(ChunkId chunk, bool weights) {
  return weights ? weight_files_[chunk] : state_files_[chunk];
}

OpId ProgramBuilder::fetch(std::uint32_t unit, ChunkId chunk, SectionMask sections, Slot& slot,
                           BufferKind kind, std::vector<Dependency> after) {
  Op op{.kind = OpKind::fetch,
        .resource = Resource::nvme_read,
        .unit = unit,
        .chunk = chunk,
        .sections = sections,
        .bytes = plan_.layout.payload_bytes(chunk, sections),
        .after = std::move(after)};
  (kind == BufferKind::landing ? op.weights : op.states) = slot.buffer;
  FileState& file = file_state(chunk, kind == BufferKind::landing);
  if (file.last_write >= 0) op.after.push_back({static_cast<OpId>(file.last_write), 0});
  const OpId id = add(std::move(op));
  if (file.last_write < 0) file.early_reads.push_back(id);
  return id;
}

std::vector<OpId> ProgramBuilder::fetch_weights(std::uint32_t unit, Slot& slot) {
  slot.unit = unit;
  slot.whole = false;
  // From memory nothing is fetched: the gather fills the slot, in the engine's own order.
  if (!plan_.units[unit].weights_on_nvme) return {};
  std::vector<Dependency> after;
  for (const OpId holder : slot.holders) after.push_back({holder, 0});
  std::vector<OpId> fetches;
  for (ChunkId c = plan_.layout.first_chunk(unit); c < plan_.layout.end_chunk(unit); ++c)
    fetches.push_back(fetch(unit, c, swap::weights_mask, slot, BufferKind::landing, after));
  if (!slot.refilled) slot.first_fetches = fetches;
  slot.refilled = true;
  slot.holders = fetches;
  return fetches;
}

// The unit's W: where it is pinned, still landed, or about to land in the least recently used slot.
// `also_hold`: keep what was acquired last (a tied head needs two units at once).
ProgramBuilder::Landed ProgramBuilder::acquire(std::uint32_t unit, bool also_hold) {
  const UnitPlan& up = plan_.units[unit];
  const bool partitioned = plan_.input.partitions_weights();
  if (!up.weights_on_nvme && !partitioned) return {up.pinned_weights, nullptr, {}};
  for (Slot& slot : landing_)
    if (slot.unit == unit) {
      slot.last_use = ++clock_;
      return {slot.buffer, &slot, {}};
    }
  Slot* oldest = nullptr;
  for (Slot& slot : landing_) {
    if (also_hold && slot.last_use == clock_ && clock_ != 0) continue;
    if (oldest == nullptr || slot.last_use < oldest->last_use) oldest = &slot;
  }
  FATHOM_ASSERT(oldest != nullptr, "a plan that streams weights has landing slots");
  oldest->last_use = ++clock_;
  return {oldest->buffer, oldest, fetch_weights(unit, *oldest)};
}

// Makes the landed unit whole, unless it is.
void ProgramBuilder::gather(std::uint32_t unit, Landed& landed) {
  if (!plan_.input.partitions_weights() || landed.slot->whole) return;
  landed.slot->whole = true;
  const UnitPlan& up = plan_.units[unit];
  const OpId id = add({.kind = OpKind::gather,
                       .resource = Resource::network,
                       .unit = unit,
                       .sections = swap::weights_mask,
                       .weights = landed.buffer,
                       .bytes = moved_bytes(up, plan_.input.sections.of(swap::Section::W)),
                       .from = up.weights_on_nvme ? landed.buffer : up.pinned_weights});
  use(landed, id);
}

// W that every rank holds whole: each has updated its own partition.
void ProgramBuilder::gather_updated(std::uint32_t unit) {
  if (plan_.input.partitions_weights() || plan_.input.partitions() == 1) return;
  const UnitPlan& up = plan_.units[unit];
  add({.kind = OpKind::gather,
       .resource = Resource::network,
       .unit = unit,
       .sections = swap::weights_mask,
       .weights = up.pinned_weights,
       .bytes = moved_bytes(up, plan_.input.sections.of(swap::Section::W)),
       .from = up.pinned_weights});
}

void ProgramBuilder::use(const Landed& landed, OpId op) {
  if (landed.slot != nullptr) landed.slot->holders.push_back(op);
  for (const OpId fetched : landed.fetches) program_.ops[op].after.push_back({fetched, 0});
}

// Updates every chunk of the unit: states come through the ring, W lies in `landed` or in memory.
void ProgramBuilder::update_unit(std::uint32_t unit, Landed& landed, std::int64_t after) {
  const UnitPlan& up = plan_.units[unit];
  const bool in_slot = up.weights_on_nvme;
  for (ChunkId c = plan_.layout.first_chunk(unit); c < plan_.layout.end_chunk(unit); ++c) {
    const SectionMask streamed = plan_.chunks[c].streamed;
    Slot* slot = nullptr;
    std::int64_t fetched = -1;
    if (streamed != 0) {
      slot = &ring_[next_ring_++ % ring_.size()];
      std::vector<Dependency> free;
      for (const OpId holder : slot->holders) free.push_back({holder, 0});
      fetched = fetch(unit, c, streamed, *slot, BufferKind::ring, std::move(free));
      if (!slot->refilled) slot->first_fetches = {static_cast<OpId>(fetched)};
      slot->refilled = true;
    }
    Op op{.kind = OpKind::update,
          .unit = unit,
          .chunk = c,
          .sections = plan_.layout.sections().present(),
          .weights = in_slot ? landed.buffer : up.pinned_weights,
          .states = slot != nullptr ? slot->buffer : no_buffer,
          .elements = static_cast<double>(plan_.layout.chunk(c).elements)};
    if (fetched >= 0) op.after.push_back({static_cast<OpId>(fetched), 0});
    if (after >= 0) op.after.push_back({static_cast<OpId>(after), 0});
    const OpId updated = add(std::move(op));
    if (in_slot) use(landed, updated);
    if (slot != nullptr) {
      const OpId written = add({.kind = OpKind::write,
                                .resource = Resource::nvme_write,
                                .unit = unit,
                                .chunk = c,
                                .sections = streamed,
                                .states = slot->buffer,
                                .bytes = plan_.layout.payload_bytes(c, streamed),
                                .after = {{updated, 0}}});
      slot->holders = {written};
      state_files_[c].last_write = written;
    }
    if (in_slot) {
      const OpId written = add({.kind = OpKind::write,
                                .resource = Resource::nvme_write,
                                .unit = unit,
                                .chunk = c,
                                .sections = swap::weights_mask,
                                .weights = landed.buffer,
                                .bytes = plan_.layout.payload_bytes(c, swap::weights_mask),
                                .after = {{updated, 0}}});
      landed.slot->holders.push_back(written);
      weight_files_[c].last_write = written;
    }
  }
}

OpId ProgramBuilder::land(std::uint32_t unit, const Landed& landed, BufferId widened) {
  const OpId id = add({.kind = OpKind::land,
                       .unit = unit,
                       .weights = landed.buffer,
                       .widened = widened,
                       .elements = static_cast<double>(plan_.units[unit].flat.elements)});
  use(landed, id);
  return id;
}

void ProgramBuilder::forward(std::uint32_t unit, bool update_first) {
  Landed landed = acquire(unit);
  if (update_first) {
    update_unit(unit, landed, -1);
    gather_updated(unit);
  }
  gather(unit, landed);
  if (widens()) land(unit, landed, widened_[0]);
  const OpId id = add({.kind = OpKind::forward,
                       .unit = unit,
                       .weights = landed.buffer,
                       .widened = widens() ? widened_[0] : no_buffer,
                       .flops = 2 * products(unit)});
  // A widened copy frees the landing slot as soon as it is made.
  if (!widens()) use(landed, id);
}

// The head by itself. Its loss is chunked over tokens, so that in a step forward and backward are
// one operation.
ProgramBuilder::HeadOp ProgramBuilder::head_op(OpKind kind, bool update_first) {
  const std::uint32_t unit = head();
  const bool tied = plan_.input.model.tied_head;
  Landed landed = acquire(unit);
  if (update_first) {
    update_unit(unit, landed, -1);
    gather_updated(unit);
  }
  gather(unit, landed);
  Landed embedding;
  if (tied) {
    embedding = acquire(0, /*also_hold=*/true);
    gather(0, embedding);
  }
  BufferId own = no_buffer;
  if (widens()) {
    own = widened_[tied ? 1 : 0];
    land(unit, landed, own);
    if (tied) land(0, embedding, widened_[0]);
  }
  const OpId id =
      add({.kind = kind,
           .unit = unit,
           .weights = landed.buffer,
           .tied_weights = tied ? (widens() ? widened_[0] : embedding.buffer) : no_buffer,
           .widened = own,
           .flops = (kind == OpKind::forward ? 2 : 6) * products(unit)});
  if (!widens()) {
    use(landed, id);
    if (tied) use(embedding, id);
  }
  return {landed, id};
}

void ProgramBuilder::head_backward() {
  const UnitPlan& up = plan_.units[head()];
  HeadOp done = head_op(OpKind::backward, up.lazy && pending_);
  reduce(head());
  if (up.lazy) return;
  update_unit(head(), done.landed, done.id);
  gather_updated(head());
}

void ProgramBuilder::reduce(std::uint32_t unit) {
  const UnitPlan& up = plan_.units[unit];
  if (plan_.input.world > 1) {
    // An all-reduce is a reduce-scatter and a gather.
    const std::uint64_t bytes = moved_bytes(up, plan_.input.reduce_bytes());
    add({.kind = OpKind::reduce,
         .resource = Resource::network,
         .unit = unit,
         .bytes = plan_.input.partitions() > 1 ? bytes : 2 * bytes});
  }
  add({.kind = OpKind::reduce,
       .unit = unit,
       .elements = static_cast<double>(up.partition_elements)});
}

void ProgramBuilder::backward(std::uint32_t unit) {
  const UnitPlan& up = plan_.units[unit];
  const models::UnitSpec& spec = plan_.input.model.units[unit];
  // An embedding's gradient needs no weight: its W is landed only for an update right here.
  const bool needs_weights = spec.kind != models::UnitKind::embedding;
  Landed landed;
  if (needs_weights || !up.lazy) landed = acquire(unit);
  if (needs_weights) gather(unit, landed);
  if (needs_weights && widens()) land(unit, landed, widened_[0]);
  Op op{.kind = OpKind::backward,
        .unit = unit,
        .weights = landed.buffer,
        .widened = needs_weights && widens() ? widened_[0] : no_buffer,
        // Recomputed forward, then gradients of inputs and weights.
        .flops = 6 * products(unit)};
  if (needs_weights) op.flops += 2 * products(unit);
  const OpId id = add(std::move(op));
  if (!widens()) use(landed, id);
  reduce(unit);
  if (up.lazy) return;
  update_unit(unit, landed, id);
  gather_updated(unit);
}

StepProgram ProgramBuilder::training(bool update_pending) {
  reset();
  pending_ = update_pending;
  for (std::uint32_t u = 0; u < head(); ++u) forward(u, plan_.units[u].lazy && update_pending);
  head_backward();
  for (std::uint32_t u = head(); u-- > 0;) backward(u);
  return finish();
}

StepProgram ProgramBuilder::flush() {
  reset();
  for (std::uint32_t u = 0; u <= head(); ++u) {
    if (!plan_.units[u].lazy) continue;
    Landed landed = acquire(u);
    update_unit(u, landed, -1);
    gather_updated(u);
  }
  return finish();
}

StepProgram ProgramBuilder::inference(bool decoder_only) {
  reset();
  for (std::uint32_t u = 0; u < head(); ++u) {
    const models::UnitSpec& unit = plan_.input.model.units[u];
    const bool encodes = unit.kind == models::UnitKind::layer && unit.side == models::Side::source;
    if (!decoder_only || !encodes) forward(u, false);
  }
  head_op(OpKind::forward, false);
  return finish();
}

}  // namespace fathom::engine
