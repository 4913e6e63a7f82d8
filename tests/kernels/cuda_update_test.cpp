// SPDX-License-Identifier: Apache-2.0
//
// update() on a CUDA device against the CPU's, bit for bit, for every optimizer, master and
// gradient.
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "adam_problem.hpp"
#include "kernels/convert.hpp"
#include "kernels/cuda/norm.hpp"
#include "kernels/cuda/update.hpp"
#include "on_device.hpp"

namespace fathom::kernels {
namespace {

void compare(const UpdateStep& step, const Problem& problem, std::size_t count, std::size_t shift,
             MasterFormat master, GradientFormat gradient) {
  std::vector<float> x(problem.x.data(), problem.x.data() + count);
  std::vector<float> m(problem.m.data(), problem.m.data() + count);
  std::vector<float> v(problem.v.data(), problem.v.data() + count);
  std::vector<std::uint16_t> weight(count), low(count);
  split_master(nullptr, weight.data(), low.data(), x.data(), count);
  OnDevice device_x(x.data(), count, shift), device_m(m.data(), count, shift);
  OnDevice device_v(v.data(), count, shift);
  OnDevice device_weight(weight.data(), count, shift);
  OnDevice device_low(low.data(), count, shift);
  OnDevice device_grad(problem.grad.data(), count, shift);
  OnDevice device_grad16(problem.grad_bf16.data(), count, shift);

  const bool whole = master == MasterFormat::whole, half = master == MasterFormat::half;
  const bool wide = gradient == GradientFormat::fp32;
  const auto arrays = [&](auto* px, auto* pw, auto* pl, auto* pm, auto* pv, const auto* pg,
                          const auto* pg16) {
    return UpdateArrays{.master = master,
                        .gradient = gradient,
                        .weight = whole ? static_cast<void*>(px) : pw,
                        .low = whole  ? nullptr
                               : half ? static_cast<void*>(px)
                                      : pl,
                        .m = pm,
                        .v = pv,
                        .grad = wide ? static_cast<const void*>(pg) : pg16};
  };
  update(nullptr, step,
         arrays(x.data(), weight.data(), low.data(), m.data(), v.data(), problem.grad.data(),
                problem.grad_bf16.data()),
         count);
  must_launch(
      cuda::update(nullptr, step,
                   arrays(device_x.data(), device_weight.data(), device_low.data(), device_m.data(),
                          device_v.data(), device_grad.data(), device_grad16.data()),
                   count));
  expect_same_bits(device_x.host(), x, "x");
  expect_same_bits(device_weight.host(), weight, "W");
  expect_same_bits(device_low.host(), low, "lo");
  expect_same_bits(device_m.host(), m, "m");
  expect_same_bits(device_v.host(), v, "v");
}

void compare_formats(const UpdateStep& step, const Problem& problem, std::size_t count,
                     std::size_t shift) {
  SCOPED_TRACE(step.index());
  compare(step, problem, count, shift, MasterFormat::split, GradientFormat::bf16);
  compare(step, problem, count, shift, MasterFormat::split, GradientFormat::fp32);
  compare(step, problem, count, shift, MasterFormat::whole, GradientFormat::fp32);
  compare(step, problem, count, shift, MasterFormat::half, GradientFormat::fp16);
  compare(step, problem, count, shift, MasterFormat::half, GradientFormat::fp32);
}

std::vector<UpdateStep> steps() {
  std::vector<UpdateStep> list;
  const std::vector<Hyper> hypers = {
      usual(),
      LionHyper{.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1},
      SgdHyper{.lr = 0.1, .weight_decay = 0.01},
      SgdHyper{.lr = 0.1, .momentum = 0.9, .dampening = 0.25, .weight_decay = 0.01},
      SgdHyper{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true},
      AdagradHyper{.lr = 1e-2, .weight_decay = 0.01}};
  for (const Hyper& hyper : hypers)
    for (const bool decay : {true, false}) list.push_back(make_step(hyper, 3, 0.25, decay));
  return list;
}

TEST_F(Cuda, EveryOptimizerHasTheCpusBits) {
  const Problem problem(1'000'007);
  for (const UpdateStep& step : steps()) compare_formats(step, problem, problem.size(), 0);
}

TEST_F(Cuda, EveryOptimizerHasTheCpusBitsForEveryLengthAndAlignment) {
  const Problem problem(1100);
  for (const UpdateStep& step : steps())
    for (const std::size_t count : {0U, 1U, 2U, 3U, 4U, 5U, 7U, 8U, 33U, 1023U, 1024U, 1025U})
      for (const std::size_t shift : {0U, 1U, 4U}) compare_formats(step, problem, count, shift);
}

TEST_F(Cuda, RefusesPairsOfFormatsThatThereAreNot) {
  const UpdateArrays none{.master = MasterFormat::whole, .gradient = GradientFormat::bf16};
  EXPECT_NE(cuda::update(nullptr, make_step(usual(), 1, 1, true), none, 1), 0);
  EXPECT_NE(cuda::update(nullptr, make_step(LambHyper{}, 1, 1, true), {}, 1), 0);
}

TEST_F(Cuda, GradientStatsFindWhatFp16CannotHold) {
  std::vector<float> grad(100'000, 2.0F);
  grad[77'777] = -65520.0F;
  OnDevice device_grad(grad.data(), grad.size());
  const std::vector<unsigned char> space(cuda::gradient_stats_workspace(grad.size()));
  OnDevice workspace(space.data(), space.size());
  for (const std::uint32_t bits : {fp16_overflow_bits, fp32_overflow_bits}) {
    const cuda::DeviceGradientStats none;
    OnDevice total(&none, 1);
    must_launch(cuda::reset_stats(nullptr, total.data()));
    must_launch(cuda::add_gradient_stats(nullptr, device_grad.data(), grad.size(), 0,
                                         workspace.data(), total.data(), bits));
    const GradientStats want = gradient_stats(nullptr, grad.data(), grad.size(), bits);
    EXPECT_EQ(total.host().front().sum_squares, want.sum_squares);
    EXPECT_EQ(total.host().front().first_non_finite,
              want.first_non_finite.value_or(cuda::no_index));
  }
}

}  // namespace
}  // namespace fathom::kernels
