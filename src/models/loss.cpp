// SPDX-License-Identifier: Apache-2.0
#include "models/loss.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include "base/assert.hpp"
#include "models/autograd.hpp"

namespace fathom::models {
namespace {

// Turns fp32 logits [c, v] into exp(logits - max) in place.
struct Softmax {
  at::Tensor valid;  // bool [c]
  at::Tensor ids;    // [c, 1], ignored targets as 0
  at::Tensor total;  // sums of the exponentials [c]
  at::Tensor rows;   // loss of each row, 0 where ignored
  at::Tensor loss;   // double, sum over the valid rows
};
Softmax exponentiate(at::Tensor& logits, const at::Tensor& targets) {
  Softmax softmax;
  softmax.valid = targets.ne(ignored_target);
  softmax.ids = targets.masked_fill(softmax.valid.logical_not(), 0).unsqueeze(1);
  logits.sub_(logits.amax({1}, true));
  const at::Tensor picked = logits.gather(1, softmax.ids).squeeze(1);
  logits.exp_();
  softmax.total = logits.sum({1});
  softmax.rows = softmax.total.log().sub_(picked).masked_fill_(softmax.valid.logical_not(), 0);
  softmax.loss = softmax.rows.sum(at::kDouble);
  return softmax;
}

// exp(logits - max) → gradient of scale · loss by the logits, in place.
void differentiate(at::Tensor& exponentials, const Softmax& softmax, double scale) {
  const at::Tensor used = softmax.valid.to(at::kFloat).mul_(scale);
  exponentials.mul_(used.div(softmax.total).unsqueeze(1));
  exponentials.scatter_add_(1, softmax.ids, used.neg().unsqueeze(1));
}

// sum += value in slices: on the CPU an addition of two types makes a copy of the whole operand.
void accumulate(const at::Tensor& sum, const at::Tensor& value) {
  if (sum.scalar_type() == value.scalar_type() || !value.is_cpu()) {
    at::Tensor(sum).add_(value);
    return;
  }
  constexpr std::int64_t slice = 1 << 20;
  const at::Tensor flat_sum = sum.view({-1}), flat = value.reshape({-1});
  for (std::int64_t at = 0; at < flat.numel(); at += slice) {
    const std::int64_t count = std::min(slice, flat.numel() - at);
    flat_sum.narrow(0, at, count).add_(flat.narrow(0, at, count));
  }
}

void check(const at::Tensor& hidden, const at::Tensor& targets, std::int64_t chunk_rows) {
  FATHOM_ASSERT(hidden.dim() == 2 && targets.dim() == 1 && hidden.size(0) == targets.size(0),
                "hidden is [n, h] and targets [n]");
  FATHOM_ASSERT(chunk_rows > 0, "chunks of no rows");
}

at::Tensor no_loss(const at::Tensor& hidden) {
  return at::zeros({}, hidden.options().dtype(at::kDouble).requires_grad(false));
}

}  // namespace

Result<double> head_loss(const Head& head, std::span<const at::Tensor> parameters,
                         const at::Tensor& hidden, const at::Tensor& targets,
                         std::int64_t chunk_rows) {
  check(hidden, targets, chunk_rows);
  return guarded("compute the loss", [&]() -> Result<double> {
    const NoGrad quiet;
    const at::Tensor sum = no_loss(hidden);
    for (std::int64_t row = 0; row < hidden.size(0); row += chunk_rows) {
      const std::int64_t rows = std::min(chunk_rows, hidden.size(0) - row);
      at::Tensor logits = head.logits(parameters, hidden.narrow(0, row, rows)).to(at::kFloat);
      at::Tensor(sum).add_(exponentiate(logits, targets.narrow(0, row, rows)).loss);
    }
    return sum.item<double>();
  });
}

Result<at::Tensor> head_log_probabilities(const Head& head, std::span<const at::Tensor> parameters,
                                          const at::Tensor& hidden, const at::Tensor& targets,
                                          std::int64_t chunk_rows) {
  check(hidden, targets, chunk_rows);
  return guarded("compute log-probabilities", [&]() -> Result<at::Tensor> {
    const NoGrad quiet;
    at::Tensor all = at::zeros({hidden.size(0)}, hidden.options().dtype(at::kFloat));
    for (std::int64_t row = 0; row < hidden.size(0); row += chunk_rows) {
      const std::int64_t rows = std::min(chunk_rows, hidden.size(0) - row);
      at::Tensor logits = head.logits(parameters, hidden.narrow(0, row, rows)).to(at::kFloat);
      all.narrow(0, row, rows).sub_(exponentiate(logits, targets.narrow(0, row, rows)).rows);
    }
    return all;
  });
}

Result<HeadLoss> head_loss_backward(const Head& head, std::span<const at::Tensor> parameters,
                                    const at::Tensor& hidden, const at::Tensor& targets,
                                    std::int64_t chunk_rows, double scale,
                                    std::span<const at::Tensor> accumulators) {
  check(hidden, targets, chunk_rows);
  FATHOM_ASSERT(accumulators.size() == parameters.size(), "one accumulator per parameter");
  return guarded("compute the loss and its gradient", [&]() -> Result<HeadLoss> {
    const NoGrad quiet;
    const at::Tensor sum = no_loss(hidden);
    HeadLoss loss{sum, at::empty_like(hidden.detach())};
    for (std::int64_t row = 0; row < hidden.size(0); row += chunk_rows) {
      const std::int64_t rows = std::min(chunk_rows, hidden.size(0) - row);
      TensorList bound, inputs{leaf(hidden.narrow(0, row, rows))};
      std::vector<std::size_t> wanted;
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        bound.push_back(accumulators[i].defined() ? leaf(parameters[i]) : parameters[i].detach());
        if (!accumulators[i].defined()) continue;
        inputs.push_back(bound.back());
        wanted.push_back(i);
      }
      at::Tensor logits;
      {
        const WithGrad recording;
        logits = head.logits(bound, inputs.front());
      }
      // Shares the logits' memory in fp32: nothing in the graph needs their values any more.
      at::Tensor seed = logits.detach();
      {
        at::Tensor wide = seed.to(at::kFloat);
        const Softmax softmax = exponentiate(wide, targets.narrow(0, row, rows));
        at::Tensor(sum).add_(softmax.loss);
        differentiate(wide, softmax, scale);
        if (!wide.is_same(seed)) seed.copy_(wide);
      }
      FATHOM_ASSIGN(TensorList grads, gradients({std::move(logits)}, inputs, {std::move(seed)}));
      loss.gradient.narrow(0, row, rows).copy_(grads[0]);
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        accumulate(accumulators[wanted[i]], grads[i + 1]);
      }
    }
    return loss;
  });
}

}  // namespace fathom::models
