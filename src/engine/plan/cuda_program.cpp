// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/cuda_program.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace fathom::engine {

using swap::ChunkId;

CudaProgram::CudaProgram(const Plan& plan, const Rings& rings) : plan_(plan), rings_(rings) {}

void CudaProgram::reset() {
  program_ = {};
  program_.ops.reserve(4 * plan_.units.size() + 8 * plan_.chunks.size());
  hazards_.emplace(program_, plan_.buffers.size() + 2 * plan_.layout.chunks().size());
  landing_.clear();
  for (const BufferId buffer : rings_.landing) landing_.push_back({.buffer = buffer});
  clock_ = 0;
  ring_ = {&rings_.ring};
  staging_ = {&rings_.staging};
  accumulators_ = {&rings_.accumulators};
  device_gradients_ = {&rings_.device_gradients};
  host_gradients_ = {&rings_.host_gradients};
  carries_ = {&rings_.carries};
  host_carries_ = {&rings_.host_carries};
  carry_of_.assign(plan_.units.size(), no_buffer);
  delayed_.reset();
  down_.clear();
  next_down_ = 0;
  held_ = no_buffer;
  fetched_inputs_ = 0;
}

StepProgram CudaProgram::finish() {
  hazards_->finish();
  return std::move(program_);
}

OpId CudaProgram::add(Op op) {
  program_.ops.push_back(std::move(op));
  return static_cast<OpId>(program_.ops.size() - 1);
}

// The ring's next slot, for new contents.
BufferId CudaProgram::take(Ring& ring) {
  FATHOM_ASSERT(!ring.buffers->empty(), "a plan has the rings that its placement needs");
  for (;;) {
    const BufferId buffer = (*ring.buffers)[ring.next++ % ring.buffers->size()];
    if (buffer == held_) continue;
    hazards_->refill(buffer);
    return buffer;
  }
}

double CudaProgram::matmul(std::uint32_t unit) const {
  const PlanInput& input = plan_.input;
  return static_cast<double>(input.micro_batch * input.accumulation) *
         models::unit_products(input.model.units[unit], {input.length, input.target_length});
}

// --- weights -------------------------------------------------------------------------------------

// Where the unit's W is, or is to land: the least recently used slot. `also_hold`: keep what was
// found last (a tied head needs two units at once).
BufferId CudaProgram::find_landing(std::uint32_t unit, bool also_hold, bool& landed) {
  for (LandingSlot& slot : landing_)
    if (slot.unit == unit) {
      slot.last_use = ++clock_;
      landed = true;
      return slot.buffer;
    }
  LandingSlot* oldest = nullptr;
  for (LandingSlot& slot : landing_) {
    if (also_hold && slot.last_use == clock_ && clock_ != 0) continue;
    if (oldest == nullptr || slot.last_use < oldest->last_use) oldest = &slot;
  }
  FATHOM_ASSERT(oldest != nullptr, "a plan that lands weights has landing slots");
  FATHOM_ASSERT(!delayed_ || oldest->buffer != delayed_->weights,
                "W that has yet to come down is not the least recently used");
  oldest->last_use = ++clock_;
  oldest->unit = unit;
  landed = false;
  hazards_->refill(oldest->buffer);
  return oldest->buffer;
}

OpId CudaProgram::copy_weights(OpKind kind, Resource resource, std::uint32_t unit, ChunkId chunk,
                               BufferId from, BufferId to) {
  const OpId id = add({.kind = kind,
                       .resource = resource,
                       .unit = unit,
                       .chunk = chunk,
                       .sections = swap::weights_mask,
                       .bytes = plan_.layout.payload_bytes(chunk, swap::weights_mask),
                       .from = from,
                       .to = to,
                       .from_offset = plan_.weights_offset(from, chunk),
                       .to_offset = plan_.weights_offset(to, chunk)});
  hazards_->read(id, from, weights_part(from, chunk));
  hazards_->write(id, to, weights_part(to, chunk));
  return id;
}

// Reads the chunk's W from nvme into a staging slot.
BufferId CudaProgram::fetch_weights(std::uint32_t unit, ChunkId chunk) {
  const BufferId staging = take(staging_);
  const OpId id = add({.kind = OpKind::fetch,
                       .resource = Resource::nvme_read,
                       .unit = unit,
                       .chunk = chunk,
                       .sections = swap::weights_mask,
                       .weights = staging,
                       .bytes = plan_.layout.payload_bytes(chunk, swap::weights_mask)});
  hazards_->read(id, file_of_weights(chunk));
  hazards_->write(id, staging);
  return staging;
}

void CudaProgram::write_weights(std::uint32_t unit, ChunkId chunk, BufferId from) {
  const OpId id = add({.kind = OpKind::write,
                       .resource = Resource::nvme_write,
                       .unit = unit,
                       .chunk = chunk,
                       .sections = swap::weights_mask,
                       .weights = from,
                       .bytes = plan_.layout.payload_bytes(chunk, swap::weights_mask)});
  hazards_->read(id, from);
  hazards_->write(id, file_of_weights(chunk));
}

// Brings W back from the device into a staging slot.
BufferId CudaProgram::come_down(std::uint32_t unit, ChunkId chunk, BufferId from) {
  const BufferId staging = take(staging_);
  copy_weights(OpKind::fetch, Resource::d2h, unit, chunk, from, staging);
  return staging;
}

// Makes the unit's W present for what follows, updated first when `update`; returns where it is on
// the device (no_buffer when it need not be there).
BufferId CudaProgram::bring(std::uint32_t unit, bool update, bool to_device, bool also_hold) {
  const UnitPlan& up = plan_.units[unit];
  BufferId slot = up.weights_on_device ? up.pinned_weights : no_buffer;
  bool landed = up.weights_on_device, lands = to_device;
  for (ChunkId c = plan_.layout.first_chunk(unit); c < plan_.layout.end_chunk(unit); ++c)
    lands = lands || (update && on_device(c));
  if (!landed && lands) slot = find_landing(unit, also_hold, landed);
  for (ChunkId c = plan_.layout.first_chunk(unit); c < plan_.layout.end_chunk(unit); ++c)
    bring_chunk(unit, c, slot, landed, update, to_device);
  return slot;
}

void CudaProgram::bring_chunk(std::uint32_t unit, ChunkId chunk, BufferId slot, bool landed,
                              bool update, bool to_device) {
  const UnitPlan& up = plan_.units[unit];
  const bool by_device = update && on_device(chunk), by_cpu = update && !on_device(chunk);
  if (up.weights_on_device) {
    if (by_device) update_on_device(unit, chunk, slot, up.device_gradient);
    if (by_cpu) update_resting_on_device(unit, chunk);
    return;
  }
  const bool lands = !landed && (to_device || by_device);
  if (by_cpu || lands) {
    const BufferId host = up.weights_on_nvme ? fetch_weights(unit, chunk) : up.pinned_weights;
    if (by_cpu) update_on_cpu(unit, chunk, host, up.gradient);
    if (lands) copy_weights(OpKind::land, Resource::h2d, unit, chunk, host, slot);
    if (by_cpu && up.weights_on_nvme) write_weights(unit, chunk, host);
  }
  if (by_device) update_on_device(unit, chunk, slot, up.device_gradient);
}

// --- updates -------------------------------------------------------------------------------------

// States come through the ring or are pinned; `weights` and `gradient` lie in host memory.
void CudaProgram::update_on_cpu(std::uint32_t unit, ChunkId chunk, BufferId weights,
                                BufferId gradient) {
  const swap::SectionMask streamed = plan_.chunks[chunk].streamed;
  BufferId slot = no_buffer;
  if (streamed != 0) {
    slot = take(ring_);
    const OpId fetched = add({.kind = OpKind::fetch,
                              .resource = Resource::nvme_read,
                              .unit = unit,
                              .chunk = chunk,
                              .sections = streamed,
                              .states = slot,
                              .bytes = plan_.layout.payload_bytes(chunk, streamed)});
    hazards_->read(fetched, file_of_states(chunk));
    hazards_->write(fetched, slot);
  }
  const OpId id = add({.kind = OpKind::update,
                       .resource = Resource::cpu,
                       .unit = unit,
                       .chunk = chunk,
                       .sections = plan_.layout.sections().present(),
                       .weights = weights,
                       .states = slot,
                       .elements = static_cast<double>(plan_.layout.chunk(chunk).elements),
                       .gradient = gradient});
  hazards_->write(id, weights, weights_part(weights, chunk));
  hazards_->read(id, gradient, part(chunk));
  if (streamed == 0) return;
  hazards_->write(id, slot);
  const OpId written = add({.kind = OpKind::write,
                            .resource = Resource::nvme_write,
                            .unit = unit,
                            .chunk = chunk,
                            .sections = streamed,
                            .states = slot,
                            .bytes = plan_.layout.payload_bytes(chunk, streamed)});
  hazards_->read(written, slot);
  hazards_->write(written, file_of_states(chunk));
}

// All on the device; W goes back to where it rests.
void CudaProgram::update_on_device(std::uint32_t unit, ChunkId chunk, BufferId weights,
                                   BufferId gradient) {
  const OpId id = add({.kind = OpKind::update,
                       .resource = Resource::device,
                       .unit = unit,
                       .chunk = chunk,
                       .sections = plan_.layout.sections().present(),
                       .weights = weights,
                       .elements = static_cast<double>(plan_.layout.chunk(chunk).elements),
                       .gradient = gradient});
  hazards_->write(id, weights, weights_part(weights, chunk));
  hazards_->read(id, gradient, part(chunk));
  const UnitPlan& up = plan_.units[unit];
  if (up.weights_on_device) return;
  const BufferId home = up.weights_on_nvme ? take(staging_) : up.pinned_weights;
  copy_weights(OpKind::write, Resource::d2h, unit, chunk, weights, home);
  if (up.weights_on_nvme) write_weights(unit, chunk, home);
}

// In forward: W rests on the device and its states do not, so it comes down, is updated, goes back.
// The copy of the next such chunk is listed before this one's update stops the engine thread.
void CudaProgram::update_resting_on_device(std::uint32_t unit, ChunkId chunk) {
  const auto down = [&] {
    const auto& [u, c] = down_.at(next_down_++);
    return come_down(u, c, plan_.units[u].pinned_weights);
  };
  const BufferId host = held_ != no_buffer ? held_ : down();
  FATHOM_ASSERT((down_[next_down_ - 1] == ChunkOf{unit, chunk}), "chunks come down in order");
  held_ = host;
  const BufferId next = next_down_ < down_.size() ? down() : no_buffer;
  const UnitPlan& up = plan_.units[unit];
  update_on_cpu(unit, chunk, host, up.gradient);
  copy_weights(OpKind::write, Resource::h2d, unit, chunk, host, up.pinned_weights);
  held_ = next;
}

// Backward of the next unit is listed: the gradient of the one before has had time to come down.
void CudaProgram::update_delayed() {
  if (!delayed_) return;
  const Delayed now = *delayed_;
  delayed_.reset();
  const UnitPlan& up = plan_.units[now.unit];
  const auto host_weights = [&](ChunkId chunk) {
    if (up.weights() == Tier::host) return up.pinned_weights;
    if (now.weights != no_buffer) return come_down(now.unit, chunk, now.weights);
    return fetch_weights(now.unit, chunk);
  };
  std::vector<ChunkId> chunks;
  for (ChunkId c = plan_.layout.first_chunk(now.unit); c < plan_.layout.end_chunk(now.unit); ++c)
    if (!on_device(c)) chunks.push_back(c);
  BufferId next = no_buffer;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const BufferId host = i == 0 ? host_weights(chunks[0]) : next;
    if (i + 1 < chunks.size()) next = host_weights(chunks[i + 1]);
    update_on_cpu(now.unit, chunks[i], host, now.gradient);
    if (up.weights_on_nvme) write_weights(now.unit, chunks[i], host);
    if (up.weights_on_device)
      copy_weights(OpKind::write, Resource::h2d, now.unit, chunks[i], host, up.pinned_weights);
  }
}

// --- block inputs --------------------------------------------------------------------------------

// Where the block before `unit` writes.
BufferId CudaProgram::new_inputs(std::uint32_t unit) {
  const UnitPlan& up = plan_.units[unit];
  return carry_of_[unit] = up.inputs_tier == Tier::device ? up.resting_inputs : take(carries_);
}

void CudaProgram::copy_inputs(std::uint32_t unit, Resource resource, BufferId from, BufferId to) {
  const OpId id = add({.kind = resource == Resource::h2d ? OpKind::fetch : OpKind::write,
                       .resource = resource,
                       .unit = unit,
                       .bytes = input_bytes(),
                       .from = from,
                       .to = to,
                       .block_inputs = true});
  hazards_->read(id, from);
  hazards_->write(id, to);
}

void CudaProgram::transfer_inputs(std::uint32_t unit, Resource resource, BufferId buffer) {
  const std::uint32_t extents = plan_.units[unit].input_extents;
  const bool reads = resource == Resource::nvme_read;
  for (ChunkId c = plan_.layout.first_chunk(extents); c < plan_.layout.end_chunk(extents); ++c) {
    const OpId id = add({.kind = reads ? OpKind::fetch : OpKind::write,
                         .resource = resource,
                         .unit = unit,
                         .chunk = c,
                         .sections = swap::weights_mask,
                         .weights = buffer,
                         .bytes = plan_.layout.payload_bytes(c, swap::weights_mask),
                         .block_inputs = true});
    const Place file = file_of_weights(c);
    if (reads) {
      hazards_->read(id, file);
      hazards_->write(id, buffer);
    } else {
      hazards_->read(id, buffer);
      hazards_->write(id, file);
    }
  }
}

void CudaProgram::spill_inputs(std::uint32_t unit, BufferId carry) {
  const UnitPlan& up = plan_.units[unit];
  if (up.inputs_tier == Tier::host) copy_inputs(unit, Resource::d2h, carry, up.resting_inputs);
  if (up.inputs_tier != Tier::nvme) return;
  const BufferId host = take(host_carries_);
  copy_inputs(unit, Resource::d2h, carry, host);
  transfer_inputs(unit, Resource::nvme_write, host);
}

BufferId CudaProgram::inputs_for_backward(std::uint32_t unit) {
  const UnitPlan& up = plan_.units[unit];
  if (up.inputs_tier == Tier::device || unit == fetched_inputs_) return carry_of_[unit];
  fetched_inputs_ = unit;
  BufferId host = up.resting_inputs;
  if (up.inputs_tier == Tier::nvme) {
    host = take(host_carries_);
    transfer_inputs(unit, Resource::nvme_read, host);
  }
  carry_of_[unit] = take(carries_);
  copy_inputs(unit, Resource::h2d, host, carry_of_[unit]);
  return carry_of_[unit];
}

// --- passes --------------------------------------------------------------------------------------

void CudaProgram::forward(std::uint32_t unit, bool update) {
  const BufferId weights = bring(unit, update, true);
  const bool train = plan_.input.mode == Mode::train;
  const BufferId out = train ? new_inputs(unit + 1) : no_buffer;
  const OpId id = add({.kind = OpKind::forward,
                       .resource = Resource::device,
                       .unit = unit,
                       .weights = weights,
                       .flops = 2 * matmul(unit),
                       .carry_in = carry_of_[unit],
                       .carry_out = out});
  hazards_->read_all(id, weights, chunks_of(unit));
  if (!train) return;
  if (unit != 0) hazards_->read(id, carry_of_[unit]);
  hazards_->write(id, out);
  spill_inputs(unit + 1, out);
}

// A tied embedding sums over the whole backward pass. fp32 gradients at rest on the device are
// their accumulators.
BufferId CudaProgram::accumulator_of(std::uint32_t unit) {
  const UnitPlan& up = plan_.units[unit];
  if (up.accumulator != no_buffer) return up.accumulator;
  if (plan_.input.gradient_bytes == 4 && up.device_gradient != no_buffer) return up.device_gradient;
  return take(accumulators_);
}

// The head runs forward and backward in one operation: its loss is chunked over tokens.
void CudaProgram::head_backward(bool update) {
  const std::uint32_t unit = head();
  const bool tied = plan_.input.model.tied_head;
  const BufferId weights = bring(unit, update && plan_.units[unit].lazy, true);
  const BufferId embedding = tied ? bring(0, false, true, /*also_hold=*/true) : no_buffer;
  const BufferId accumulator = accumulator_of(unit);
  const OpId id = add({.kind = OpKind::backward,
                       .resource = Resource::device,
                       .unit = unit,
                       .weights = weights,
                       .tied_weights = embedding,
                       .flops = 6 * matmul(unit),
                       .accumulator = accumulator,
                       .carry_in = carry_of_[unit]});
  hazards_->read_all(id, weights, chunks_of(unit));
  if (tied) {
    hazards_->read_all(id, embedding, chunks_of(0));
    hazards_->write_all(id, plan_.units[0].accumulator, chunks_of(0));
  }
  hazards_->write_all(id, accumulator, chunks_of(unit));
  hazards_->write(id, carry_of_[unit]);
  reduce_and_update(unit, accumulator, weights);
}

void CudaProgram::backward(std::uint32_t unit) {
  const UnitPlan& up = plan_.units[unit];
  // An embedding's gradient needs no weight: its W lands only for an update right here, on the
  // device.
  const bool embedding = plan_.input.model.units[unit].kind == models::UnitKind::embedding;
  bool by_device = false;
  for (ChunkId c = plan_.layout.first_chunk(unit); c < plan_.layout.end_chunk(unit); ++c)
    by_device = by_device || (!up.lazy && on_device(c));
  const BufferId weights = !embedding || by_device
                               ? bring(unit, false, true)
                               : (up.weights_on_device ? up.pinned_weights : no_buffer);
  const BufferId in = unit == 0 ? no_buffer : inputs_for_backward(unit);
  const BufferId accumulator = accumulator_of(unit);
  Op op{.kind = OpKind::backward,
        .resource = Resource::device,
        .unit = unit,
        .weights = embedding ? no_buffer : weights,
        // Recomputed forward, then gradients of inputs and weights.
        .flops = 6 * matmul(unit),
        .accumulator = accumulator,
        .carry_in = in,
        .carry_out = carry_of_[unit + 1]};
  if (!embedding) op.flops += 2 * matmul(unit);
  const OpId id = add(std::move(op));
  if (!embedding) hazards_->read_all(id, weights, chunks_of(unit));
  hazards_->read(id, carry_of_[unit + 1]);
  if (in != no_buffer) hazards_->write(id, in);
  hazards_->write_all(id, accumulator, chunks_of(unit));
  reduce_and_update(unit, accumulator, weights);
}

void CudaProgram::reduce_and_update(std::uint32_t unit, BufferId accumulator, BufferId weights) {
  const UnitPlan& up = plan_.units[unit];
  const ChunkId first = plan_.layout.first_chunk(unit), end = plan_.layout.end_chunk(unit);
  const std::uint64_t element = plan_.input.gradient_bytes;
  const bool rounds = element != 4;
  BufferId gradient = accumulator;
  if (up.device_gradient != no_buffer)
    gradient = up.device_gradient;
  else if (rounds)
    gradient = take(device_gradients_);
  const OpId reduced = add({.kind = OpKind::reduce,
                            .resource = Resource::device,
                            .unit = unit,
                            .elements = static_cast<double>(up.flat.elements),
                            .accumulator = accumulator,
                            .gradient = gradient});
  hazards_->read_all(reduced, accumulator, chunks_of(unit));
  // Summed where it rests, it is a gradient once it is checked.
  if (gradient != accumulator || gradient == up.device_gradient)
    hazards_->write_all(reduced, gradient, chunks_of(unit));

  // Down goes what the CPU updates.
  BufferId host = no_buffer;
  for (ChunkId c = first; c < end; ++c) {
    if (on_device(c)) continue;
    if (host == no_buffer) host = up.lazy ? up.gradient : take(host_gradients_);
    const std::uint64_t offset = plan_.layout.chunk(c).first * element;
    const OpId copied = add({.kind = OpKind::reduce,
                             .resource = Resource::d2h,
                             .unit = unit,
                             .chunk = c,
                             .bytes = plan_.layout.chunk(c).elements * element,
                             .from = gradient,
                             .to = host,
                             .from_offset = offset,
                             .to_offset = offset});
    hazards_->read(copied, gradient, part(c));
    hazards_->write(copied, host, part(c));
  }
  if (!up.lazy)
    for (ChunkId c = first; c < end; ++c)
      if (on_device(c)) update_on_device(unit, c, weights, gradient);
  // The unit before must not wait for its W behind the update.
  if (delayed_ && unit > 1) {
    if (rings_.landing.size() > 2) bring(unit - 1, false, true);
    inputs_for_backward(unit - 1);
  }
  update_delayed();
  if (!up.lazy && host != no_buffer) delayed_ = Delayed{unit, weights, host};
}

// Which chunks come down in forward to be updated, in order.
void CudaProgram::list_lookahead() {
  for (std::uint32_t u = 0; u <= head(); ++u)
    if (plan_.units[u].lazy && plan_.units[u].weights_on_device)
      for (ChunkId c = plan_.layout.first_chunk(u); c < plan_.layout.end_chunk(u); ++c)
        if (!on_device(c)) down_.emplace_back(u, c);
}

StepProgram CudaProgram::training(bool update_pending) {
  reset();
  if (update_pending) list_lookahead();
  for (std::uint32_t u = 0; u < head(); ++u) forward(u, plan_.units[u].lazy && update_pending);
  head_backward(update_pending);
  for (std::uint32_t u = head(); u-- > 0;) backward(u);
  update_delayed();
  return finish();
}

StepProgram CudaProgram::flush() {
  reset();
  list_lookahead();
  for (std::uint32_t u = 0; u <= head(); ++u)
    if (plan_.units[u].lazy) bring(u, true, false);
  return finish();
}

StepProgram CudaProgram::inference(bool decoder_only) {
  FATHOM_ASSERT(!decoder_only, "encoder-decoder models are not planned for cuda");
  reset();
  for (std::uint32_t u = 0; u < head(); ++u) forward(u, false);
  const bool tied = plan_.input.model.tied_head;
  const BufferId weights = bring(head(), false, true);
  const BufferId embedding = tied ? bring(0, false, true, /*also_hold=*/true) : no_buffer;
  const OpId id = add({.kind = OpKind::forward,
                       .resource = Resource::device,
                       .unit = head(),
                       .weights = weights,
                       .tied_weights = embedding,
                       .flops = 2 * matmul(head()),
                       .carry_in = carry_of_[head()]});
  hazards_->read_all(id, weights, chunks_of(head()));
  if (carry_of_[head()] != no_buffer) hazards_->read(id, carry_of_[head()]);
  if (tied) hazards_->read_all(id, embedding, chunks_of(0));
  return finish();
}

}  // namespace fathom::engine
