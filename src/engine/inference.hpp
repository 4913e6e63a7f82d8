// SPDX-License-Identifier: Apache-2.0
//
// InferenceExecutor: sweeps the model's weights past batches of tokens.
//
// Purpose      One sweep lands every unit once and runs all batches through it, so that weights
// streamed
//              from disk serve every sequence; the next sweep's first units are read while this one
//              ends.
// Ownership    Borrows plan, residence and model; they outlive it. Batches belong to the caller.
// Threads      One thread drives it.
//
//   FATHOM_CHECK(executor.sweep(batches, more_follow, [&](std::size_t i, const Head& head,
//                                std::span<const at::Tensor> parameters, const at::Tensor& hidden)
//                                …));
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/residence.hpp"
#include "engine/trace.hpp"
#include "engine/transfers.hpp"
#include "models/block.hpp"
#include "swap/swapper.hpp"

namespace fathom::engine {

struct SweepBatch {
  models::BatchContext context;
  std::vector<models::LayerCache> caches;  // one per block after the embedding; empty: no cache
  models::TensorList carried = {};         // by ModelSpec::carries; gone after their last user
};

// Which units a sweep goes through.
enum class SweepPart : std::uint8_t {
  whole,
  decoder  // not the encoder's: the caches hold what it gave
};

class InferenceExecutor {
 public:
  // What to do with a batch's last hidden states [b, new tokens, h]: logits or loss.
  using HeadTask =
      std::function<Result<void>(std::size_t batch, const models::Head& head,
                                 std::span<const at::Tensor> parameters, const at::Tensor& hidden)>;

  InferenceExecutor(const Plan& plan, Residence& residence, const models::Model& model,
                    Trace* trace);
  ~InferenceExecutor();

  Result<void> sweep(std::vector<SweepBatch>& batches, bool more_follow, const HeadTask& task,
                     SweepPart part = SweepPart::whole);

  std::uint64_t sweeps() const { return sweeps_; }
  StepBytes bytes() const { return bytes_; }  // of all sweeps

 private:
  // A program with what runs its transfers.
  struct Program {
    const StepProgram* steps = nullptr;
    std::unique_ptr<TransferLog> log;        // null without a trace; outlives the swapper
    std::unique_ptr<swap::Swapper> swapper;  // null when nothing is transferred
  };
  void prepare(Program& program);
  Result<void> switch_to(SweepPart part);
  Result<void> run_op(const Op& op, std::vector<SweepBatch>& batches, const HeadTask& task);

  const Plan& plan_;
  Residence& residence_;
  const models::Model& model_;
  Trace* trace_;
  std::vector<std::string> names_;
  Program whole_, decoder_;
  Program* current_ = &whole_;
  std::uint64_t sweeps_ = 0;
  StepBytes bytes_;
};

// Rotary and learned positions of a mask [b, s] (1 = token): cumsum − 1, never below 0.
at::Tensor positions_of(const at::Tensor& attention_mask);

// Additive mask [b, 1, s, t] for the last s of t = mask columns: causal, padding hidden, finite
// minimum.
at::Tensor additive_mask(const at::Tensor& attention_mask, std::int64_t new_tokens,
                         ComputeType type);

}  // namespace fathom::engine
