// SPDX-License-Identifier: Apache-2.0
//
// The CUDA kernels against the CPU's, bit for bit. Needs a device; skips by name without one. A
// program of its own, so that the CPU tests need no CUDA library.
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "adam_problem.hpp"
#include "data.hpp"
#include "kernels/adamw.hpp"
#include "kernels/convert.hpp"
#include "kernels/cuda/adamw.hpp"
#include "kernels/cuda/convert.hpp"
#include "kernels/cuda/norm.hpp"
#include "kernels/norm.hpp"
#include "on_device.hpp"

namespace fathom::kernels {
namespace {

void compare_adam(const AdamStep& step, const Problem& problem, std::size_t count,
                  std::size_t shift) {
  std::vector<float> x(problem.x.begin(), problem.x.begin() + static_cast<std::ptrdiff_t>(count));
  std::vector<std::uint16_t> weight(count), low(count);
  split_master(nullptr, weight.data(), low.data(), x.data(), count);
  const auto run = [&](auto& grads, const char* what) {
    std::vector<float> m(problem.m.data(), problem.m.data() + count);
    std::vector<float> v(problem.v.data(), problem.v.data() + count);
    std::vector<std::uint16_t> w = weight, lo = low;
    OnDevice device_w(w.data(), count, shift), device_lo(lo.data(), count, shift);
    OnDevice device_m(m.data(), count, shift), device_v(v.data(), count, shift);
    OnDevice device_g(grads.data(), count, shift);
    adamw_split(nullptr, step, w.data(), lo.data(), m.data(), v.data(), grads.data(), count);
    must_launch(cuda::adamw_split(nullptr, step, device_w.data(), device_lo.data(), device_m.data(),
                                  device_v.data(), device_g.data(), count));
    expect_same_bits(device_w.host(), w, what);
    expect_same_bits(device_lo.host(), lo, what);
    expect_same_bits(device_m.host(), m, what);
    expect_same_bits(device_v.host(), v, what);
  };
  run(problem.grad_bf16, "split master, bf16 gradient");
  run(problem.grad, "split master, fp32 gradient");

  std::vector<float> m(problem.m.data(), problem.m.data() + count);
  std::vector<float> v(problem.v.data(), problem.v.data() + count);
  OnDevice device_x(x.data(), count, shift), device_m(m.data(), count, shift);
  OnDevice device_v(v.data(), count, shift), device_g(problem.grad.data(), count, shift);
  adamw_fp32(nullptr, step, x.data(), m.data(), v.data(), problem.grad.data(), count);
  must_launch(cuda::adamw_fp32(nullptr, step, device_x.data(), device_m.data(), device_v.data(),
                               device_g.data(), count));
  expect_same_bits(device_x.host(), x, "whole master");
  expect_same_bits(device_m.host(), m, "m of the whole master");
  expect_same_bits(device_v.host(), v, "v of the whole master");
}

TEST_F(Cuda, AdamWHasTheCpusBits) {
  const Problem problem(1'000'007);
  compare_adam(adam_step(usual(), 1, 1, true), problem, problem.size(), 0);
  compare_adam(adam_step(usual(), 7, 0.37, true), problem, problem.size(), 1);
}

TEST_F(Cuda, AdamWHasTheCpusBitsForEveryLengthAndAlignment) {
  const Problem problem(2100);
  const AdamStep step = adam_step(usual(), 3, 0.25, true);
  for (std::size_t count = 0; count <= 40; ++count)
    for (const std::size_t shift : {0U, 1U, 2U, 3U, 4U}) compare_adam(step, problem, count, shift);
  for (const std::size_t count : {1023U, 1024U, 1025U, 2047U, 2049U})
    compare_adam(step, problem, count, 0);
}

TEST_F(Cuda, AdamWHasTheCpusBitsForEveryKindOfStep) {
  const Problem problem(5000);
  for (const bool decoupled : {true, false})
    for (const bool decay : {true, false})
      for (const bool correction : {true, false})
        for (const std::int64_t t : {1, 1000}) {
          AdamHyper hyper = usual();
          hyper.decoupled = decoupled;
          hyper.bias_correction = correction;
          compare_adam(adam_step(hyper, t, 1.0 / 1024, decay), problem, problem.size(), 0);
        }
}

TEST_F(Cuda, TrainsForHundredStepsWithTheCpusBits) {
  constexpr std::size_t count = 100'003;
  const CounterRandom random(8, "train");
  std::vector<float> x(count), m(count), v(count), grad(count);
  std::vector<std::uint16_t> weight(count), low(count);
  for (std::size_t i = 0; i < count; ++i) x[i] = random.normal(i);
  split_master(nullptr, weight.data(), low.data(), x.data(), count);
  OnDevice device_w(weight.data(), count), device_lo(low.data(), count);
  OnDevice device_m(m.data(), count), device_v(v.data(), count);
  for (int t = 1; t <= 100; ++t) {
    for (std::size_t i = 0; i < count; ++i)
      grad[i] = 0.01F * random.normal(static_cast<std::uint64_t>(t % 5) * count + i);
    const AdamStep step = adam_step(usual(), t, 0.9, true);
    OnDevice device_g(grad.data(), count);
    adamw_split(nullptr, step, weight.data(), low.data(), m.data(), v.data(), grad.data(), count);
    must_launch(cuda::adamw_split(nullptr, step, device_w.data(), device_lo.data(), device_m.data(),
                                  device_v.data(), device_g.data(), count));
    must(cudaDeviceSynchronize());
  }
  expect_same_bits(device_w.host(), weight, "W");
  expect_same_bits(device_lo.host(), low, "lo");
  expect_same_bits(device_m.host(), m, "m");
  expect_same_bits(device_v.host(), v, "v");
}

TEST_F(Cuda, ConversionsHaveTheCpusBits) {
  const std::vector<float> cases = hard_cases();
  std::vector<std::uint16_t> all(65536);
  std::iota(all.begin(), all.end(), static_cast<std::uint16_t>(0));
  for (const std::size_t shift : {0U, 1U}) {
    std::vector<std::uint16_t> narrow(cases.size()), low(cases.size());
    std::vector<float> wide(all.size()), back(cases.size());
    OnDevice from(cases.data(), cases.size(), shift);
    OnDevice from_16(all.data(), all.size(), shift);
    OnDevice to(narrow.data(), narrow.size(), shift), to_low(low.data(), low.size(), shift);
    OnDevice to_wide(wide.data(), wide.size(), shift), to_back(back.data(), back.size(), shift);

    fp32_to_bf16(nullptr, narrow.data(), cases.data(), cases.size());
    must_launch(cuda::fp32_to_bf16(nullptr, to.data(), from.data(), cases.size()));
    expect_same_bits(to.host(), narrow, "fp32 to bf16");
    fp32_to_fp16(nullptr, narrow.data(), cases.data(), cases.size());
    must_launch(cuda::fp32_to_fp16(nullptr, to.data(), from.data(), cases.size()));
    expect_same_bits(to.host(), narrow, "fp32 to fp16");
    bf16_to_fp32(nullptr, wide.data(), all.data(), all.size());
    must_launch(cuda::bf16_to_fp32(nullptr, to_wide.data(), from_16.data(), all.size()));
    expect_same_bits(to_wide.host(), wide, "bf16 to fp32");
    fp16_to_fp32(nullptr, wide.data(), all.data(), all.size());
    must_launch(cuda::fp16_to_fp32(nullptr, to_wide.data(), from_16.data(), all.size()));
    expect_same_bits(to_wide.host(), wide, "fp16 to fp32");
    split_master(nullptr, narrow.data(), low.data(), cases.data(), cases.size());
    must_launch(cuda::split_master(nullptr, to.data(), to_low.data(), from.data(), cases.size()));
    expect_same_bits(to.host(), narrow, "W");
    expect_same_bits(to_low.host(), low, "lo");
    must_launch(cuda::join_master(nullptr, to_back.data(), to.data(), to_low.data(), cases.size()));
    expect_same_bits(to_back.host(), cases, "joined master");
  }
}

TEST_F(Cuda, AccumulationHasTheCpusBits) {
  std::vector<float> sum, grad;
  std::vector<std::uint16_t> grad_bf16;
  for (const std::uint32_t a : special_patterns())
    for (const std::uint32_t b : special_patterns()) {
      sum.push_back(float_of(a));
      grad.push_back(float_of(b));
      grad_bf16.push_back(static_cast<std::uint16_t>(b >> 16));
    }
  const std::size_t count = sum.size();
  OnDevice to(sum.data(), count), from(grad.data(), count);
  OnDevice from_bf16(grad_bf16.data(), count);
  accumulate_fp32(nullptr, sum.data(), grad.data(), count);
  must_launch(cuda::accumulate_fp32(nullptr, to.data(), from.data(), count));
  expect_same_bits(to.host(), sum, "after an fp32 gradient");
  accumulate_bf16(nullptr, sum.data(), grad_bf16.data(), count);
  must_launch(cuda::accumulate_bf16(nullptr, to.data(), from_bf16.data(), count));
  expect_same_bits(to.host(), sum, "after a bf16 gradient");
}

TEST_F(Cuda, GradientStatsHaveTheCpusBits) {
  const CounterRandom random(3, "gradient");
  // Long enough for more blocks of 65536 than the adding kernel takes at a time (256).
  std::vector<float> grad(257 * norm_block + 12'345);
  for (std::size_t i = 0; i < grad.size(); ++i) {
    // Signs and fractions from everywhere, exponents from 2^-27 to 2^36.
    const std::uint32_t bits = random.bits(i);
    grad[i] = float_of((bits & 0x807fffffU) | ((100 + (bits >> 23) % 64) << 23));
  }
  struct Part {
    std::size_t begin, count;
  };
  std::vector<Part> parts;
  std::size_t begin = 0;
  for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{8},
                                  std::size_t{2047}, std::size_t{2049}, std::size_t{65535},
                                  std::size_t{65536}, std::size_t{65537}, std::size_t{200'003}}) {
    parts.push_back({begin, count});
    begin += count + 1;
  }
  parts.push_back({0, grad.size()});

  std::vector<std::vector<std::size_t>> bad_places = {
      {}, {0}, {400'000, 77, 65'600, grad.size() - 1}};
  for (const auto& places : bad_places) {
    for (const std::size_t place : places)
      grad[place] = place % 2 == 0 ? std::numeric_limits<float>::quiet_NaN()
                                   : -std::numeric_limits<float>::infinity();
    OnDevice device_grad(grad.data(), grad.size());
    const std::vector<unsigned char> space(cuda::gradient_stats_workspace(grad.size()));
    OnDevice workspace(space.data(), space.size());
    const cuda::DeviceGradientStats none;
    OnDevice total(&none, 1);
    must_launch(cuda::reset_stats(nullptr, total.data()));
    GradientStats want;
    std::size_t offset = 0;
    for (const Part& part : parts) {
      merge(want, gradient_stats(nullptr, grad.data() + part.begin, part.count), offset);
      must_launch(cuda::add_gradient_stats(nullptr, device_grad.data() + part.begin, part.count,
                                           offset, workspace.data(), total.data()));
      const cuda::DeviceGradientStats got = total.host().front();
      EXPECT_EQ(std::bit_cast<std::uint64_t>(got.sum_squares),
                std::bit_cast<std::uint64_t>(want.sum_squares))
          << got.sum_squares << " against " << want.sum_squares << " after " << part.count;
      EXPECT_EQ(got.first_non_finite, want.first_non_finite.value_or(cuda::no_index));
      offset += part.count;
    }
  }
}

TEST_F(Cuda, LaunchesOnNothingAreAccepted) {
  must_launch(cuda::adamw_fp32(nullptr, adam_step(usual(), 1, 1, true), nullptr, nullptr, nullptr,
                               nullptr, 0));
  must_launch(cuda::bf16_to_fp32(nullptr, nullptr, nullptr, 0));
  must_launch(cuda::add_gradient_stats(nullptr, nullptr, 0, 0, nullptr, nullptr));
  EXPECT_EQ(cuda::gradient_stats_workspace(0), 0U);
}

}  // namespace
}  // namespace fathom::kernels
