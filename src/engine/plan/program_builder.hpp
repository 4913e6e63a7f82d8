// SPDX-License-Identifier: Apache-2.0
//
// ProgramBuilder: writes the operations of a pass for a plan whose placement and buffers are
// decided. Pure; used by make_plan only.
//
// Purpose      Hands landing slots to units in least-recently-used order and ring slots in turn,
// and
//              records every order that must hold: a refill after the last use of the slot, a read
//              after the last write of the same bytes, across the end of a pass too. Because a
//              sweep goes down the layers and back up, the units landed at the turn are used again
//              without a second read.
// Ranks        Where W is partitioned a landing slot holds the whole unit: the partition is fetched
//              (or held in memory), updated where it is, and gathered from all ranks for compute.
//              Where only the states are, W is whole in memory and gathered when its partition was
//              updated. Each gather and reduction passes over a unit once: 3N elements a step.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/plan/plan.hpp"

namespace fathom::engine {

class ProgramBuilder {
 public:
  // `landing` and `ring`: the slot buffers; `widened`: fp32 copies ([0] for any unit, [1] for a
  // tied head), empty when nothing is widened.
  ProgramBuilder(const Plan& plan, std::vector<BufferId> landing, std::vector<BufferId> ring,
                 std::vector<BufferId> widened);

  // One optimizer step. `update_pending`: the lazy units carry gradients of the step before.
  StepProgram training(bool update_pending);
  // Applies the gradients that the lazy units carry.
  StepProgram flush();
  // One sweep of the forward pass up to logits or loss. `decoder_only`: without the encoder's
  // layers.
  StepProgram inference(bool decoder_only);

 private:
  struct Slot {
    BufferId buffer = no_buffer;
    std::int64_t unit = -1;  // who is landed, -1 nobody
    std::uint64_t last_use = 0;
    std::vector<OpId> holders;        // the slot may be refilled after these
    std::vector<OpId> first_fetches;  // wait for the final holders of the pass before
    bool refilled = false;            // in this pass
    bool whole = false;               // gathered from all ranks
  };
  struct Landed {
    BufferId buffer = no_buffer;
    Slot* slot = nullptr;  // null: whole in memory
    std::vector<OpId> fetches;
  };
  struct HeadOp {
    Landed landed;
    OpId id = 0;
  };
  struct FileState {  // of one chunk's W or states
    std::int64_t last_write = -1;
    std::vector<OpId> early_reads;  // reads before any write of this pass
  };

  void reset();
  StepProgram finish();
  OpId add(Op op);
  void use(const Landed& landed, OpId op);
  Landed acquire(std::uint32_t unit, bool also_hold = false);
  std::vector<OpId> fetch_weights(std::uint32_t unit, Slot& slot);
  OpId fetch(std::uint32_t unit, swap::ChunkId chunk, swap::SectionMask sections, Slot& slot,
             BufferKind kind, std::vector<swap::Dependency> after);
  void update_unit(std::uint32_t unit, Landed& landed, std::int64_t after);
  void gather(std::uint32_t unit, Landed& landed);
  void gather_updated(std::uint32_t unit);
  OpId land(std::uint32_t unit, const Landed& landed, BufferId widened);
  void forward(std::uint32_t unit, bool update_first);
  HeadOp head_op(OpKind kind, bool update_first);
  void head_backward();
  void backward(std::uint32_t unit);
  void reduce(std::uint32_t unit);
  FileState& file_state(swap::ChunkId chunk, bool weights);
  bool widens() const { return !widened_.empty(); }
  std::uint32_t head() const { return static_cast<std::uint32_t>(plan_.units.size() - 1); }
  // Weight products of the unit over all tokens of a pass.
  double products(std::uint32_t unit) const;

  const Plan& plan_;
  std::vector<BufferId> landing_buffers_, ring_buffers_, widened_;
  std::vector<Slot> landing_, ring_;
  std::size_t next_ring_ = 0;
  std::uint64_t clock_ = 0;
  bool pending_ = false;  // the lazy units carry gradients of the step before
  std::vector<FileState> weight_files_, state_files_;
  StepProgram program_;
};

}  // namespace fathom::engine
