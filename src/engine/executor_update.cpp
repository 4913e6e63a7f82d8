// SPDX-License-Identifier: Apache-2.0
//
// TrainingExecutor's updates: the optimizer's rule on the sections of one chunk.
#include <algorithm>
#include <variant>

#include "engine/optimizer_rule.hpp"
#include "engine/training_pass.hpp"
#include "kernels/lamb.hpp"

namespace fathom::engine {

using swap::ChunkId;

kernels::UpdateArrays TrainingExecutor::arrays(const Op& op, ChunkId chunk,
                                               std::uint64_t begin) const {
  const ChunkView view = residence_.view(chunk, op.weights, op.states);
  kernels::UpdateArrays from = kernels::advanced({.master = master_,
                                                  .gradient = gradient_,
                                                  .weight = view.weights,
                                                  .low = view.low,
                                                  .m = view.m,
                                                  .v = view.v,
                                                  .grad = nullptr},
                                                 begin - plan_.first_element(chunk));
  const UnitPlan& up = plan_.units[op.unit];
  from.grad =
      residence_.buffer(up.gradient) + (begin - up.partition_first) * plan_.input.gradient_bytes;
  return from;
}

void TrainingExecutor::update(const Op& op, const Pass& pass) {
  const UnitPlan& up = plan_.units[op.unit];
  const bool skip = rule_.skip_non_finite && !pass.totals.non_finite.empty();
  const PendingUpdate now = up.lazy ? *pending_ : PendingUpdate{pass.hyper, pass.t, 1, skip};
  if (now.skip) return;
  const_cast<Pass&>(pass).totals.applied |= !up.lazy;
  if (const auto* lamb = std::get_if<kernels::LambHyper>(&now.hyper)) {
    // Whole tensors are needed, and nothing of them is on nvme: one pass behind the last chunk.
    if (op.chunk + 1 == plan_.layout.end_chunk(op.unit)) update_lamb(op, *lamb, now);
    return;
  }
  const std::uint64_t first = plan_.first_element(op.chunk);
  const std::uint64_t last = first + plan_.layout.chunk(op.chunk).elements;
  for (const DecayRun& run : decay_[op.unit]) {
    const std::uint64_t begin = std::max(run.first, first);
    const std::uint64_t end = std::min(run.first + run.elements, last);
    if (begin >= end) continue;
    kernels::update(&pool_, kernels::make_step(now.hyper, now.t, now.grad_scale, run.decays),
                    arrays(op, op.chunk, begin), end - begin);
  }
}

void TrainingExecutor::update_lamb(const Op& op, const kernels::LambHyper& hyper,
                                   const PendingUpdate& now) {
  const models::UnitSpec& unit = plan_.input.model.units[op.unit];
  const auto for_pieces = [&](std::size_t parameter, const auto& body) {
    const std::uint64_t first = plan_.units[op.unit].flat.offsets[parameter];
    const std::uint64_t last = first + unit.parameters[parameter].elements();
    for (ChunkId c = plan_.layout.first_chunk(op.unit); c < plan_.layout.end_chunk(op.unit); ++c) {
      const swap::Chunk& chunk = plan_.layout.chunk(c);
      const std::uint64_t begin = std::max(first, chunk.first);
      const std::uint64_t end = std::min(last, chunk.first + chunk.elements);
      if (begin < end) body(arrays(op, c, begin), begin, end - begin);
    }
  };
  for (std::size_t p = 0; p < unit.parameters.size(); ++p) {
    const auto step = std::get<kernels::LambStep>(
        kernels::make_step(hyper, now.t, now.grad_scale, unit.parameters[p].decays()));
    kernels::LambNorms norms;
    for_pieces(p, [&](const kernels::UpdateArrays& piece, std::uint64_t begin, std::uint64_t n) {
      kernels::lamb_moments(&pool_, step, piece, n, begin, norms);
    });
    const float rate = kernels::lamb_rate(step, norms);
    for_pieces(p, [&](const kernels::UpdateArrays& piece, std::uint64_t, std::uint64_t n) {
      kernels::lamb_apply(&pool_, step, rate, piece, n);
    });
  }
}

}  // namespace fathom::engine
