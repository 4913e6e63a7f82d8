// SPDX-License-Identifier: Apache-2.0
#include "reference.hpp"

#include <cmath>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "engine/tensors.hpp"
#include "kernels/convert.hpp"
#include "kernels/lamb.hpp"
#include "kernels/norm.hpp"
#include "models/initialise.hpp"
#include "models/loss.hpp"

namespace fathom::engine::testing_runs {
namespace {

// One unit with all its state in plain vectors, in the flat order of the plan.
struct Unit {
  const models::UnitSpec* spec;
  FlatUnit flat;
  std::vector<float> x, m, v, sum;
  std::vector<std::uint16_t> w, lo;
};

class Reference {
 public:
  explicit Reference(const Job& job) : job_(job), model_(std::move(*models::make_model(job.spec))) {
    for (const models::UnitSpec& spec : job_.spec.units) {
      Unit unit{&spec, flatten(spec, 1), {}, {}, {}, {}, {}, {}};
      const std::size_t n = unit.flat.elements;
      unit.x.assign(n, 0);
      for (std::size_t p = 0; p < spec.parameters.size(); ++p)
        models::fill(
            spec.parameters[p], job.seed, 0,
            std::span(unit.x.data() + unit.flat.offsets[p], spec.parameters[p].elements()));
      unit.m.assign(n, 0);
      unit.v.assign(n, 0);
      unit.sum.assign(n, 0);
      unit.w.resize(n);
      unit.lo.resize(n);
      split(unit);
      units_.push_back(std::move(unit));
    }
  }

  Outcome run() {
    Outcome outcome;
    for (std::uint64_t step = 0; step < job_.steps; ++step) {
      for (Unit& unit : units_) std::fill(unit.sum.begin(), unit.sum.end(), 0.0F);
      double loss = 0, predictions = 0;
      const auto batches = batches_of(job_, step);
      for (const MicroBatch& batch : batches)
        predictions += static_cast<double>(batch.targets.numel());
      for (const MicroBatch& batch : batches)
        loss += micro_batch(batch, predictions / job_.loss_scale);
      // A tied embedding has gradients from both ends of the model: the order of the sum is the
      // head's part of all micro-batches, then the embedding's.
      for (const at::Tensor& gradient : embedding_)
        add_tensor(nullptr, units_[0].sum.data(), gradient, false);
      embedding_.clear();
      double squares = 0;
      for (std::size_t u = units_.size(); u-- > 0;)
        squares += kernels::gradient_stats(nullptr, units_[u].sum.data(), units_[u].sum.size())
                       .sum_squares;
      const double norm = std::sqrt(squares) / job_.loss_scale;
      double factor = 1;
      if (job_.clipping > 0) factor = std::max(1.0, (norm + 1e-6) / job_.clipping);
      const double scale = 1 / (factor * job_.loss_scale);
      for (Unit& unit : units_) update(unit, static_cast<std::int64_t>(step) + 1, scale);
      outcome.losses.push_back(loss / predictions);
      outcome.norms.push_back(norm);
    }
    for (const Unit& unit : units_) outcome.units.push_back(bytes_of(unit));
    return outcome;
  }

 private:
  void split(Unit& unit) const {
    if (job_.fp16)
      kernels::fp32_to_fp16(nullptr, unit.w.data(), unit.x.data(), unit.x.size());
    else
      kernels::split_master(nullptr, unit.w.data(), unit.lo.data(), unit.x.data(), unit.x.size());
  }

  at::Tensor parameter(const Unit& unit, std::size_t p) const {
    const auto& shape = unit.spec->parameters[p].shape;
    const std::uint64_t count = unit.spec->parameters[p].elements(), at = unit.flat.offsets[p];
    const at::Tensor fp32 = at::empty(shape, at::TensorOptions().dtype(c10::ScalarType::Float));
    if (job_.fp32) {
      std::memcpy(fp32.data_ptr(), unit.x.data() + at, count * 4);
      return fp32;
    }
    if (job_.widen || job_.fp16) {
      const auto widen = job_.fp16 ? kernels::fp16_to_fp32 : kernels::bf16_to_fp32;
      widen(nullptr, static_cast<float*>(fp32.data_ptr()), unit.w.data() + at, count);
      return fp32;
    }
    const at::Tensor bf16 = at::empty(shape, at::TensorOptions().dtype(c10::ScalarType::BFloat16));
    std::memcpy(bf16.data_ptr(), unit.w.data() + at, count * 2);
    return bf16;
  }

  models::TensorList parameters(std::size_t u) const {
    models::TensorList list;
    for (std::size_t p = 0; p < units_[u].spec->parameters.size(); ++p)
      list.push_back(parameter(units_[u], p));
    return list;
  }

  // Forward and backward of the whole model on one micro-batch; gradients are added to the sums.
  double micro_batch(const MicroBatch& batch, double predictions) {
    std::vector<models::TensorList> inputs = {{}};
    for (std::size_t u = 0; u + 1 < units_.size(); ++u)
      inputs.push_back({forward_block(*model_.blocks[u], parameters(u), inputs[u],
                                      plain_context(batch.input_ids))
                            ->front()});
    const std::size_t head = units_.size() - 1;
    models::TensorList weights = parameters(head), sums;
    for (std::size_t p = 0; p < units_[head].spec->parameters.size(); ++p)
      sums.push_back(sum_view(head, p));
    if (job_.spec.tied_head) {
      weights.push_back(parameter(units_[0], 0));
      sums.push_back(sum_view(0, 0));
    }
    const at::Tensor hidden = inputs[head].front().reshape({-1, inputs[head].front().size(-1)});
    const auto rows = static_cast<std::uint64_t>(hidden.size(0));
    const auto loss = models::head_loss_backward(
        *model_.head, weights, hidden, batch.targets.view({-1}),
        static_cast<std::int64_t>(models::loss_chunk_rows(job_.spec, rows)), 1 / predictions, sums);
    at::Tensor gradient = loss->gradient.view(inputs[head].front().sizes());
    for (std::size_t u = head; u-- > 0;) {
      const auto gradients = block_gradients(*model_.blocks[u], parameters(u), inputs[u],
                                             plain_context(batch.input_ids), {gradient});
      if (u == 0 && job_.spec.tied_head) {
        embedding_.push_back(gradients->front());
        continue;
      }
      for (std::size_t p = 0; p < units_[u].spec->parameters.size(); ++p)
        add_tensor(nullptr, units_[u].sum.data() + units_[u].flat.offsets[p],
                   (*gradients)[inputs[u].size() + p], false);
      if (u > 0) gradient = gradients->front();
    }
    return loss->sum();
  }

  at::Tensor sum_view(std::size_t u, std::size_t p) {
    Unit& unit = units_[u];
    return at::from_blob(unit.sum.data() + unit.flat.offsets[p], unit.spec->parameters[p].shape,
                         at::TensorOptions().dtype(c10::ScalarType::Float));
  }

  // The whole tensor at once, whatever the plan's chunks.
  void update(Unit& unit, std::int64_t t, double scale) {
    std::vector<std::uint16_t> rounded(unit.sum.size());
    const auto round = job_.fp16 ? kernels::fp32_to_fp16 : kernels::fp32_to_bf16;
    round(nullptr, rounded.data(), unit.sum.data(), unit.sum.size());
    kernels::Hyper hyper = job_.rule();
    kernels::set_learning_rate(hyper, job_.hyper.lr);
    for (std::size_t p = 0; p < unit.spec->parameters.size(); ++p) {
      const auto step =
          kernels::make_step(hyper, t, scale, unit.spec->parameters[p].shape.size() > 1);
      const std::size_t at = unit.flat.offsets[p], n = unit.spec->parameters[p].elements();
      const kernels::UpdateArrays all{
          .master = master_format(job_.sections()),
          .gradient = gradient_format(master_format(job_.sections()), job_.fp32 ? 4 : 2),
          .weight = job_.fp32 ? static_cast<void*>(unit.x.data()) : unit.w.data(),
          .low = job_.fp16 ? static_cast<void*>(unit.x.data()) : unit.lo.data(),
          .m = unit.m.data(),
          .v = unit.v.data(),
          .grad = job_.fp32 ? static_cast<const void*>(unit.sum.data()) : rounded.data()};
      const kernels::UpdateArrays arrays = kernels::advanced(all, at);
      if (const auto* lamb = std::get_if<kernels::LambStep>(&step)) {
        kernels::LambNorms norms;
        kernels::lamb_moments(nullptr, *lamb, arrays, n, at, norms);
        kernels::lamb_apply(nullptr, *lamb, kernels::lamb_rate(*lamb, norms), arrays, n);
      } else {
        kernels::update(nullptr, step, arrays, n);
      }
    }
  }

  std::vector<std::byte> bytes_of(const Unit& unit) const {
    std::vector<std::byte> all;
    const auto add = [&](const auto& values) {
      const auto* begin = reinterpret_cast<const std::byte*>(values.data());
      all.insert(all.end(), begin, begin + values.size() * sizeof(values[0]));
    };
    if (!job_.fp32) add(unit.w);
    if (job_.fp32 || job_.fp16)
      add(unit.x);
    else
      add(unit.lo);
    const kernels::OptimizerStates states = kernels::states_of(job_.rule());
    if (states.m) add(unit.m);
    if (states.v) add(unit.v);
    return all;
  }

  const Job& job_;
  models::Model model_;
  std::vector<Unit> units_;
  models::TensorList embedding_;  // gradients of the step's micro-batches, when tied
};

}  // namespace

Outcome reference_training(const Job& job) { return Reference(job).run(); }

}  // namespace fathom::engine::testing_runs
