// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw.hpp"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "adam_problem.hpp"
#include "data.hpp"
#include "kernels/targets.hpp"

namespace fathom::kernels {
namespace {

constexpr std::size_t large = 1'000'007;  // 15 full ranges and a tail of odd length

enum class Kind { split_bf16, split_fp32, whole };

// Runs a kernel on elements [0, count) of the problem, arrays shifted by `shift` elements, and
// compares every bit.
void run_and_compare(Kind kind, ThreadPool* pool, const AdamStep& step, const Problem& problem,
                     const std::vector<AdamElement>& solved, std::size_t count, std::size_t shift) {
  Guarded<float> x(count, shift), m(count, shift + 1), v(count, shift + 2), grad(count, shift + 3);
  Guarded<std::uint16_t> weight(count, shift), low(count, shift + 1), grad_bf16(count, shift + 3);
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = problem.x[i], m[i] = problem.m[i], v[i] = problem.v[i], grad[i] = problem.grad[i];
    grad_bf16[i] = problem.grad_bf16[i];
    const SplitElement s = reference_split(problem.x[i]);
    weight[i] = s.weight, low[i] = s.low;
  }
  switch (kind) {
    case Kind::split_bf16:
      adamw_split(pool, step, weight.data(), low.data(), m.data(), v.data(), grad_bf16.data(),
                  count);
      break;
    case Kind::split_fp32:
      adamw_split(pool, step, weight.data(), low.data(), m.data(), v.data(), grad.data(), count);
      break;
    case Kind::whole:
      adamw_fp32(pool, step, x.data(), m.data(), v.data(), grad.data(), count);
      break;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const AdamElement& want = solved[i];
    const float got = kind == Kind::whole ? x[i] : reference_join({weight[i], low[i]});
    if (bits_of(got) != bits_of(want.x) || bits_of(m[i]) != bits_of(want.m) ||
        bits_of(v[i]) != bits_of(want.v)) {
      FAIL() << "element " << i << " of " << count << ", shift " << shift << ": x " << got << " m "
             << m[i] << " v " << v[i] << ", reference x " << want.x << " m " << want.m << " v "
             << want.v;
    }
  }
  for (const auto* array : {&x, &m, &v, &grad}) array->check_guards();
  for (const auto* array : {&weight, &low, &grad_bf16}) array->check_guards();
}

TEST(SimdTargets, AreWhatKernelsThenRunOn) {
  for (const SimdTarget& target : simd_targets()) {
    use_simd_target(target);
    EXPECT_EQ(active_simd_target(), target.name);
  }
  use_best_simd_target();
  EXPECT_EQ(active_simd_target(), simd_targets().front().name);
}

class EveryTarget : public testing::Test {
 protected:
  ~EveryTarget() override { use_best_simd_target(); }
};
using AdamWEveryTarget = EveryTarget;

TEST(SimdTargets, EndWithOneThatNeedsNothingOfTheCpu) {
  const auto targets = simd_targets();
  ASSERT_GE(targets.size(), 2U);
  const std::string last = targets.back().name;
  EXPECT_TRUE(last == "SCALAR" || last == "EMU128" || last == "NEON" || last == "SSE2") << last;
}

TEST_F(AdamWEveryTarget, HasTheReferencesBitsForEveryLengthAndAlignment) {
  const Problem problem(300);
  const AdamStep step = adam_step(usual(), 3, 0.25, true);
  const auto bf16 = solve(problem, step, true), fp32 = solve(problem, step, false);
  for (const SimdTarget& target : simd_targets()) {
    SCOPED_TRACE(target.name);
    use_simd_target(target);
    for (std::size_t count = 0; count <= problem.size(); ++count) {
      const std::size_t shift = count % 16;
      run_and_compare(Kind::split_bf16, nullptr, step, problem, bf16, count, shift);
      run_and_compare(Kind::split_fp32, nullptr, step, problem, fp32, count, shift);
      run_and_compare(Kind::whole, nullptr, step, problem, fp32, count, shift);
    }
    for (std::size_t shift = 0; shift < 16; ++shift)
      run_and_compare(Kind::split_bf16, nullptr, step, problem, bf16, 77, shift);
    if (HasFatalFailure()) return;
  }
}

TEST_F(AdamWEveryTarget, HasTheReferencesBitsForEveryThreadCount) {
  const Problem problem(large);
  const AdamStep step = adam_step(usual(), 1, 1, true);
  const auto bf16 = solve(problem, step, true), fp32 = solve(problem, step, false);
  ThreadPool one(1), three(3);
  for (const SimdTarget& target : simd_targets()) {
    SCOPED_TRACE(target.name);
    use_simd_target(target);
    run_and_compare(Kind::split_bf16, nullptr, step, problem, bf16, large, 0);
    run_and_compare(Kind::split_bf16, &one, step, problem, bf16, large, 1);
    run_and_compare(Kind::split_bf16, &three, step, problem, bf16, large, 5);
    run_and_compare(Kind::split_fp32, &three, step, problem, fp32, large, 3);
    run_and_compare(Kind::whole, &three, step, problem, fp32, large, 2);
    if (HasFatalFailure()) return;
  }
}

TEST_F(AdamWEveryTarget, HasTheReferencesBitsForEveryKindOfStep) {
  const Problem problem(5000);
  std::vector<AdamStep> steps;
  for (const bool decoupled : {true, false})
    for (const bool decay : {true, false})
      for (const bool correction : {true, false})
        for (const std::int64_t t : {1, 2, 1000, 10'000'000}) {
          AdamHyper hyper = usual();
          hyper.decoupled = decoupled;
          hyper.bias_correction = correction;
          steps.push_back(adam_step(hyper, t, 1.0 / 65536, decay));
        }
  for (const AdamStep& step : steps) {
    const auto bf16 = solve(problem, step, true), fp32 = solve(problem, step, false);
    for (const SimdTarget& target : simd_targets()) {
      SCOPED_TRACE(target.name);
      use_simd_target(target);
      run_and_compare(Kind::split_bf16, nullptr, step, problem, bf16, problem.size(), 1);
      run_and_compare(Kind::whole, nullptr, step, problem, fp32, problem.size(), 1);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(AdamW, FollowsTheFormulaInLongDouble) {
  constexpr std::size_t count = 1000;
  constexpr int steps = 50;
  for (const bool decoupled : {true, false}) {
    AdamHyper hyper = usual();
    hyper.decoupled = decoupled;
    const CounterRandom random(5, "formula");
    std::vector<ExactAdam> exact(count, ExactAdam(hyper));
    std::vector<float> x(count), m(count), v(count), grad(count);
    for (std::size_t i = 0; i < count; ++i) exact[i].x = x[i] = random.normal(i);
    for (int t = 1; t <= steps; ++t) {
      for (std::size_t i = 0; i < count; ++i) {
        grad[i] = random.normal(static_cast<std::uint64_t>(t) * count + i);
        exact[i].step(0.5L * static_cast<long double>(grad[i]));
      }
      adamw_fp32(nullptr, adam_step(hyper, t, 0.5, true), x.data(), m.data(), v.data(), grad.data(),
                 count);
    }
    for (std::size_t i = 0; i < count; ++i) {
      // Each step rounds x, m and v a handful of times: 50 steps stay within 1e-5 of their scales.
      ASSERT_NEAR(x[i], static_cast<double>(exact[i].x), 1e-5 * std::fmax(std::fabs(x[i]), 0.01F));
      ASSERT_NEAR(m[i], static_cast<double>(exact[i].m), 1e-6);
      ASSERT_NEAR(v[i], static_cast<double>(exact[i].v), 1e-5 * v[i]);
    }
  }
}

TEST(AdamW, SplitMasterTrainsExactlyLikeAWholeOne) {
  constexpr std::size_t count = 10'000;
  const CounterRandom random(6, "split");
  std::vector<float> x(count), m(count), v(count), m2(count), v2(count), grad(count);
  std::vector<std::uint16_t> weight(count), low(count);
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = random.normal(i);
    const SplitElement s = reference_split(x[i]);
    weight[i] = s.weight, low[i] = s.low;
  }
  for (int t = 1; t <= 20; ++t) {
    for (std::size_t i = 0; i < count; ++i)
      grad[i] = random.normal(static_cast<std::uint64_t>(t) * count + i);
    const AdamStep step = adam_step(usual(), t, 1, true);
    adamw_fp32(nullptr, step, x.data(), m.data(), v.data(), grad.data(), count);
    adamw_split(nullptr, step, weight.data(), low.data(), m2.data(), v2.data(), grad.data(), count);
  }
  for (std::size_t i = 0; i < count; ++i)
    ASSERT_EQ(bits_of(x[i]), bits_of(reference_join({weight[i], low[i]}))) << i;
  EXPECT_EQ(first_difference(m.data(), m2.data(), count), count);
  EXPECT_EQ(first_difference(v.data(), v2.data(), count), count);
}

TEST(AdamW, StoresANanResultSoThatTheWeightShowsIt) {
  // 7FFFFFFF would round to W = -0; what the kernel writes may not hide.
  std::uint16_t weight = 0x3f80, low = 0;
  float m = 0, v = 0;
  const float grad = float_of(0xffffffff);
  adamw_split(nullptr, adam_step(usual(), 1, 1, true), &weight, &low, &m, &v, &grad, 1);
  EXPECT_EQ(weight, 0x7fc0);
  EXPECT_EQ(low, 0);
  EXPECT_EQ(bits_of(m), 0x7fc00000U);
  EXPECT_EQ(bits_of(v), 0x7fc00000U);
}

TEST(AdamW, WithoutDecayAZeroKeepsItsSign) {
  float x = -0.0F, m = 0, v = 0;
  const float grad = 0;
  adamw_fp32(nullptr, adam_step(usual(), 1, 1, false), &x, &m, &v, &grad, 1);
  EXPECT_EQ(bits_of(x), 0x80000000U);
}

TEST(AdamStep, CorrectsBiasInDoubleAndRoundsOnce) {
  const AdamStep first = adam_step(usual(), 1, 2, true);
  EXPECT_EQ(first.grad_scale, 2.0F);
  EXPECT_EQ(first.one_minus_beta1, static_cast<float>(1 - 0.9));  // not 1 - 0.9F
  EXPECT_EQ(first.one_minus_beta2, static_cast<float>(1 - 0.95));
  EXPECT_EQ(first.step_size, static_cast<float>(3e-4 / (1 - 0.9)));
  EXPECT_EQ(first.sqrt_bias2, static_cast<float>(std::sqrt(1 - 0.95)));
  EXPECT_EQ(first.lr_decay, static_cast<float>(3e-4 * 0.1));
  EXPECT_EQ(first.l2_decay, 0.0F);
  const AdamStep late = adam_step(usual(), 100'000, 1, true);
  EXPECT_EQ(late.step_size, 3e-4F);
  EXPECT_EQ(late.sqrt_bias2, 1.0F);
}

TEST(AdamStep, PutsTheDecayWhereTheVariantWantsIt) {
  AdamHyper hyper = usual();
  hyper.decoupled = false;
  EXPECT_EQ(adam_step(hyper, 1, 1, true).l2_decay, 0.1F);
  EXPECT_EQ(adam_step(hyper, 1, 1, true).lr_decay, 0.0F);
  EXPECT_EQ(adam_step(hyper, 1, 1, false).l2_decay, 0.0F);
  EXPECT_EQ(adam_step(usual(), 1, 1, false).lr_decay, 0.0F);
  hyper.bias_correction = false;
  EXPECT_EQ(adam_step(hyper, 1, 1, true).step_size, 3e-4F);
  EXPECT_EQ(adam_step(hyper, 1, 1, true).sqrt_bias2, 1.0F);
}

TEST(AdamStepDeathTest, RefusesStepZero) {
  EXPECT_DEATH(adam_step(usual(), 0, 1, true), "count from 1");
}

}  // namespace
}  // namespace fathom::kernels
