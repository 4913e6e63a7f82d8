// SPDX-License-Identifier: Apache-2.0
#include "engine/residence.hpp"

#include <mutex>
#include <utility>

#include "aio/numa.hpp"

namespace fathom::engine {

using swap::ChunkId;
using swap::Section;
using swap::SectionMask;

namespace {

SectionMask states_of(const Plan& plan) {
  return static_cast<SectionMask>(swap::states_mask & plan.layout.sections().present());
}

}  // namespace

Residence::Residence(const Plan& plan, aio::Arena arena)
    : plan_(plan),
      arena_(std::move(arena)),
      landing_(first_buffer(plan.input.on_cuda() ? BufferKind::staging : BufferKind::landing)),
      ring_(first_buffer(BufferKind::ring)) {}

BufferId Residence::first_buffer(BufferKind kind) const {
  for (BufferId id = 0; id < plan_.buffers.size(); ++id)
    if (plan_.buffers[id].kind == kind) return id;
  return no_buffer;
}

Result<std::unique_ptr<Residence>> Residence::create(
    const Plan& plan, const swap::StoreOptions& options, ThreadPool& pool,
    std::vector<std::unique_ptr<aio::Queue>> queues, std::optional<swap::DurableFiles> durable) {
  // Files first: a full disk is said before any memory is touched.
  std::unique_ptr<swap::Store> store;
  if (durable) {
    FATHOM_ASSIGN(store, swap::Store::over(std::move(*durable), options, pool, std::move(queues)));
  } else if (plan.bytes_on_nvme() != 0) {
    FATHOM_ASSIGN(store,
                  swap::Store::create_scratch(plan.layout, options, pool, std::move(queues)));
  }
  FATHOM_ASSIGN(aio::Arena arena,
                aio::Arena::allocate(plan.arena_bytes, aio::numa_node_under(options.paths)));
  if (store) store->attach(arena);
  auto residence = std::unique_ptr<Residence>(new Residence(plan, std::move(arena)));
  residence->store_ = std::move(store);
  if (plan.input.on_cuda()) {
    FATHOM_ASSIGN(residence->device_, DeviceMemory::allocate(plan.device_arena_bytes));
    FATHOM_ASSIGN(residence->pinned_, PinnedArena::pin(residence->arena_));
  }
  return residence;
}

ChunkView Residence::view(ChunkId id, BufferId weights, BufferId states) const {
  const swap::Layout& layout = plan_.layout;
  const swap::Chunk& chunk = layout.chunk(id);
  const SectionMask present = layout.sections().present();
  ChunkView view{.elements = chunk.elements};
  if (weights != no_buffer) view.weights = buffer(weights) + plan_.weights_offset(weights, id);
  const ChunkPlan& placed = plan_.chunks[id];
  const auto all_states = static_cast<SectionMask>(swap::states_mask & present);
  const auto pinned = static_cast<SectionMask>(all_states & ~placed.streamed);
  const auto address = [&](Section section) -> std::byte* {
    if (!swap::has(all_states, section)) return nullptr;
    if (swap::has(pinned, section))
      return buffer(placed.pinned_states) + layout.buffer_offset(id, pinned, section);
    if (states == no_buffer) return nullptr;
    return buffer(states) + layout.buffer_offset(id, placed.streamed, section);
  };
  view.low = reinterpret_cast<std::uint16_t*>(address(Section::lo));
  view.m = reinterpret_cast<float*>(address(Section::m));
  view.v = reinterpret_cast<float*>(address(Section::v));
  return view;
}

Result<void> Residence::transfer_streamed(ChunkId id, aio::Direction direction) {
  const swap::Chunk& chunk = plan_.layout.chunk(id);
  if (plan_.units[chunk.unit].weights_on_nvme)
    FATHOM_CHECK(
        store_->transfer_and_wait({.direction = direction,
                                   .chunk = id,
                                   .sections = swap::weights_mask,
                                   .buffer = buffer(landing_) + plan_.weights_offset(landing_, id),
                                   .priority = aio::Priority::demand}));
  if (plan_.chunks[id].streamed != 0)
    FATHOM_CHECK(store_->transfer_and_wait({.direction = direction,
                                            .chunk = id,
                                            .sections = plan_.chunks[id].streamed,
                                            .buffer = buffer(ring_),
                                            .priority = aio::Priority::demand}));
  return {};
}

Result<void> Residence::transfer_device(ChunkId id, aio::Direction direction) {
  const UnitPlan& unit = plan_.units[plan_.layout.chunk(id).unit];
  const ChunkPlan& placed = plan_.chunks[id];
  const auto move = [&](std::byte* host, std::byte* device, std::uint64_t bytes) {
    return direction == aio::Direction::read ? copy_from_device(host, device, bytes)
                                             : copy_to_device(device, host, bytes);
  };
  if (unit.weights_on_device)
    FATHOM_CHECK(move(visited_weights(),
                      buffer(unit.pinned_weights) + plan_.weights_offset(unit.pinned_weights, id),
                      plan_.layout.payload_bytes(id, Section::W)));
  if (placed.states_on_device)
    FATHOM_CHECK(move(visited_states(id), buffer(placed.pinned_states),
                      plan_.layout.padded_bytes(id, states_of(plan_))));
  return {};
}

Result<ChunkView> Residence::visit(ChunkId id, bool read) {
  const UnitPlan& unit = plan_.units[plan_.layout.chunk(id).unit];
  const ChunkPlan& placed = plan_.chunks[id];
  if (unit.weights_on_device || placed.states_on_device)
    visited_.resize(plan_.layout.padded_bytes(id, plan_.layout.sections().present()));
  if (read) {
    FATHOM_CHECK(transfer_streamed(id, aio::Direction::read));
    FATHOM_CHECK(transfer_device(id, aio::Direction::read));
  }
  ChunkView seen = view(id, unit.weights_on_nvme ? landing_ : unit.pinned_weights, ring_);
  if (unit.weights_on_device) seen.weights = visited_weights();
  if (!placed.states_on_device) return seen;
  const SectionMask states = states_of(plan_);
  const auto at = [&](Section section) -> std::byte* {
    if (!swap::has(states, section)) return nullptr;
    return visited_states(id) + plan_.layout.buffer_offset(id, states, section);
  };
  seen.low = reinterpret_cast<std::uint16_t*>(at(Section::lo));
  seen.m = reinterpret_cast<float*>(at(Section::m));
  seen.v = reinterpret_cast<float*>(at(Section::v));
  return seen;
}

Result<void> Residence::transfer_pinned(aio::Direction direction) {
  std::mutex mutex;
  std::optional<Error> failure;
  const auto move = [&](ChunkId id, SectionMask sections, std::byte* from) {
    store_->transfer({.direction = direction,
                      .chunk = id,
                      .sections = sections,
                      .buffer = from,
                      .priority = aio::Priority::demand},
                     [&](Result<void> done) {
                       if (done) return;
                       const std::lock_guard lock(mutex);
                       if (!failure) failure = std::move(done).error();
                     });
  };
  const SectionMask present = plan_.layout.sections().present();
  for (ChunkId id = 0; id < plan_.chunks.size(); ++id) {
    const swap::Chunk& chunk = plan_.layout.chunk(id);
    const UnitPlan& unit = plan_.units[chunk.unit];
    if (!unit.weights_on_nvme)
      move(id, swap::weights_mask,
           buffer(unit.pinned_weights) + plan_.weights_offset(unit.pinned_weights, id));
    const auto pinned =
        static_cast<SectionMask>(swap::states_mask & present & ~plan_.chunks[id].streamed);
    if (pinned != 0) move(id, pinned, buffer(plan_.chunks[id].pinned_states));
  }
  store_->drain();
  if (failure) return fail(std::move(*failure));
  return {};
}

Result<void> Residence::write_pinned() { return transfer_pinned(aio::Direction::write); }

Result<void> Residence::read_pinned() { return transfer_pinned(aio::Direction::read); }

Result<void> Residence::store_chunk(ChunkId id) {
  FATHOM_CHECK(transfer_streamed(id, aio::Direction::write));
  return transfer_device(id, aio::Direction::write);
}

}  // namespace fathom::engine
