// SPDX-License-Identifier: Apache-2.0
//
// Next-token cross entropy at the head, in chunks of rows.
//
// Purpose      Logits of a large vocabulary are the largest tensor of a model. They exist for
//              `chunk_rows` rows at a time, in one fp32 buffer that becomes, in place, their own
//              gradient (beside it, in 16-bit types, the logits in that type).
// Numbers      Softmax and loss in fp32, sums over rows in double, in the order of the rows. The
// sum
//              depends on chunk_rows at most in the last bits.
// Ownership    Tensors are borrowed for the call.
// Threads      Pure functions; gradient mode is set inside.
// Errors       no_space, internal (an id beyond the vocabulary is a bug of the caller).
//
//   FATHOM_ASSIGN(auto loss, head_loss_backward(*model.head, parameters, hidden, targets,
//                                               loss_chunk_rows(spec, n), 1.0 / total,
//                                               accumulators));
#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "base/result.hpp"
#include "models/block.hpp"

namespace fathom::models {

// A target that takes no part in the loss.
inline constexpr std::int64_t ignored_target = -100;

// Sum of the losses over the rows of hidden [n, h] with targets int64 [n] (the next tokens).
Result<double> head_loss(const Head& head, std::span<const at::Tensor> parameters,
                         const at::Tensor& hidden, const at::Tensor& targets,
                         std::int64_t chunk_rows);

// The log-probability of each target, fp32 [n]; 0 where it is ignored.
Result<at::Tensor> head_log_probabilities(const Head& head, std::span<const at::Tensor> parameters,
                                          const at::Tensor& hidden, const at::Tensor& targets,
                                          std::int64_t chunk_rows);

struct HeadLoss {
  at::Tensor total;     // as head_loss, not scaled: a double beside hidden, perhaps yet to come
  at::Tensor gradient;  // of scale · sum by hidden, [n, h] in the type of hidden

  double sum() const { return total.item<double>(); }  // waits for the device
};

// `accumulators`: one fp32 tensor per parameter and of its shape, to which the gradients of
// scale · sum are added; an undefined one leaves that parameter's gradient out.
Result<HeadLoss> head_loss_backward(const Head& head, std::span<const at::Tensor> parameters,
                                    const at::Tensor& hidden, const at::Tensor& targets,
                                    std::int64_t chunk_rows, double scale,
                                    std::span<const at::Tensor> accumulators);

}  // namespace fathom::models
