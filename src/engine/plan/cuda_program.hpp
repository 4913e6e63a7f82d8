// SPDX-License-Identifier: Apache-2.0
//
// CudaProgram: writes the operations of a pass for the device cuda. Pure; used by make_plan only.
//
// Purpose      Landing slots go to units in least-recently-used order, the other rings in turn;
//              what must come after what follows from what is read and written (hazards.hpp).
//              program.hpp says what the operations mean.
// Updates      A chunk is updated where its states are. Its W comes along: what rests on nvme is
//              read once for forward and update (lazy); what rests on the device, or was landed for
//              backward (eager), comes back to host memory beside the gradient, so that nothing is
//              read twice: 26 bytes a parameter cross nvme, as on the CPU.
// Order        An update on the CPU stops the engine thread, so it is listed when the streams have
//              work: in backward after the operations of the unit before, and copies that it waits
//              for are listed one chunk ahead.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engine/plan/buffers.hpp"
#include "engine/plan/hazards.hpp"
#include "engine/plan/plan.hpp"

namespace fathom::engine {

class CudaProgram {
 public:
  CudaProgram(const Plan& plan, const Rings& rings);

  // One optimizer step. `update_pending`: the lazy units carry gradients of the step before.
  StepProgram training(bool update_pending);
  // Applies the gradients that the lazy units carry.
  StepProgram flush();
  // One sweep of the forward pass.
  StepProgram inference(bool decoder_only);

 private:
  struct Ring {
    const std::vector<BufferId>* buffers = nullptr;
    std::size_t next = 0;
  };
  struct LandingSlot {
    BufferId buffer = no_buffer;
    std::int64_t unit = -1;
    std::uint64_t last_use = 0;
  };
  // An update by the CPU of a unit whose gradient is on its way.
  struct Delayed {
    std::uint32_t unit = 0;
    BufferId weights = no_buffer;   // on the device, no_buffer: nowhere
    BufferId gradient = no_buffer;  // in host memory
  };
  using ChunkOf = std::pair<std::uint32_t, swap::ChunkId>;

  void reset();
  StepProgram finish();
  OpId add(Op op);
  BufferId take(Ring& ring);

  // Weights.
  BufferId find_landing(std::uint32_t unit, bool also_hold, bool& landed);
  BufferId bring(std::uint32_t unit, bool update, bool to_device, bool also_hold = false);
  void bring_chunk(std::uint32_t unit, swap::ChunkId chunk, BufferId slot, bool landed, bool update,
                   bool to_device);
  BufferId fetch_weights(std::uint32_t unit, swap::ChunkId chunk);
  void write_weights(std::uint32_t unit, swap::ChunkId chunk, BufferId from);
  OpId copy_weights(OpKind kind, Resource resource, std::uint32_t unit, swap::ChunkId chunk,
                    BufferId from, BufferId to);
  BufferId come_down(std::uint32_t unit, swap::ChunkId chunk, BufferId from);

  // Updates.
  void update_on_cpu(std::uint32_t unit, swap::ChunkId chunk, BufferId weights, BufferId gradient);
  void update_on_device(std::uint32_t unit, swap::ChunkId chunk, BufferId weights,
                        BufferId gradient);
  void update_resting_on_device(std::uint32_t unit, swap::ChunkId chunk);
  void update_delayed();
  bool on_device(swap::ChunkId chunk) const { return plan_.chunks[chunk].states_on_device; }

  // Passes.
  void forward(std::uint32_t unit, bool update);
  void head_backward(bool update);
  void backward(std::uint32_t unit);
  void reduce_and_update(std::uint32_t unit, BufferId accumulator, BufferId weights);
  BufferId accumulator_of(std::uint32_t unit);
  BufferId new_inputs(std::uint32_t unit);
  void spill_inputs(std::uint32_t unit, BufferId carry);
  BufferId inputs_for_backward(std::uint32_t unit);
  void copy_inputs(std::uint32_t unit, Resource resource, BufferId from, BufferId to);
  void transfer_inputs(std::uint32_t unit, Resource resource, BufferId buffer);
  void list_lookahead();

  std::uint32_t head() const { return static_cast<std::uint32_t>(plan_.units.size() - 1); }
  std::uint32_t chunks_of(std::uint32_t unit) const {
    return plan_.layout.end_chunk(unit) - plan_.layout.first_chunk(unit);
  }
  std::uint32_t part(swap::ChunkId chunk) const {
    return chunk - plan_.layout.first_chunk(plan_.layout.chunk(chunk).unit);
  }
  // Reads or writes of one chunk's W in whatever holds it.
  std::uint32_t weights_part(BufferId buffer, swap::ChunkId chunk) const {
    return plan_.buffers[buffer].kind == BufferKind::staging ? 0 : part(chunk);
  }
  // Places of a chunk's bytes on nvme follow those of the buffers.
  Place file_of_weights(swap::ChunkId chunk) const {
    return static_cast<Place>(plan_.buffers.size() + 2 * std::size_t{chunk});
  }
  Place file_of_states(swap::ChunkId chunk) const { return file_of_weights(chunk) + 1; }
  double matmul(std::uint32_t unit) const;
  std::uint64_t input_bytes() const { return plan_.input_stride * plan_.input.accumulation; }

  const Plan& plan_;
  const Rings& rings_;
  StepProgram program_;
  std::optional<Hazards> hazards_;
  std::vector<LandingSlot> landing_;
  std::uint64_t clock_ = 0;
  Ring ring_, staging_, accumulators_, device_gradients_, host_gradients_, carries_, host_carries_;
  std::vector<BufferId> carry_of_;  // of each unit, where its block inputs are on the device
  std::optional<Delayed> delayed_;
  // Chunks that come down to be updated in forward, in order; the staging slot of the one that is
  // down already is not anybody's next.
  std::vector<ChunkOf> down_;
  std::size_t next_down_ = 0;
  BufferId held_ = no_buffer;
  std::uint32_t fetched_inputs_ = 0;  // the last unit whose spilled inputs came back
};

}  // namespace fathom::engine
