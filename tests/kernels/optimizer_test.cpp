// SPDX-License-Identifier: Apache-2.0
#include "kernels/optimizer.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "adam_problem.hpp"
#include "kernels/bits.hpp"
#include "kernels/targets.hpp"
#include "kernels/update.hpp"
#include "optimizer_reference.hpp"

namespace fathom::kernels {
namespace {

struct Formats {
  MasterFormat master;
  GradientFormat gradient;
};

constexpr Formats all_formats[] = {{MasterFormat::split, GradientFormat::bf16},
                                   {MasterFormat::split, GradientFormat::fp32},
                                   {MasterFormat::whole, GradientFormat::fp32},
                                   {MasterFormat::half, GradientFormat::fp16},
                                   {MasterFormat::half, GradientFormat::fp32}};

std::vector<Hyper> all_hypers() {
  return {usual(),
          LionHyper{.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1},
          SgdHyper{.lr = 0.1, .weight_decay = 0.01},
          SgdHyper{.lr = 0.1, .momentum = 0.9, .dampening = 0.25, .weight_decay = 0.01},
          SgdHyper{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true},
          AdagradHyper{.lr = 1e-2, .eps = 1e-10, .weight_decay = 0.01}};
}

std::uint32_t gradient_bits(const Problem& problem, std::size_t i, GradientFormat format) {
  switch (format) {
    case GradientFormat::bf16: return bf16_to_fp32_bits(problem.grad_bf16[i]);
    case GradientFormat::fp16:
      return fp16_to_fp32_bits(problem.grad_bf16[i]);  // any pattern will
                                                       // do
    case GradientFormat::fp32: return bits_of(problem.grad[i]);
  }
  return 0;
}

// Runs the kernel on elements [0, count), arrays shifted by `shift` elements, and compares every
// bit with the reference.
void run_and_compare(const UpdateStep& step, Formats formats, ThreadPool* pool,
                     const Problem& problem, std::size_t count, std::size_t shift) {
  Guarded<float> x(count, shift), m(count, shift + 1), v(count, shift + 2), grad(count, shift + 3);
  Guarded<std::uint16_t> weight(count, shift), low(count, shift + 1), grad16(count, shift + 3);
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = problem.x[i], m[i] = problem.m[i], v[i] = problem.v[i], grad[i] = problem.grad[i];
    grad16[i] = problem.grad_bf16[i];
    const SplitElement s = reference_split(problem.x[i]);
    weight[i] = s.weight, low[i] = s.low;
  }
  const bool wide = formats.gradient == GradientFormat::fp32;
  const bool whole = formats.master == MasterFormat::whole;
  const bool half = formats.master == MasterFormat::half;
  UpdateArrays arrays{.master = formats.master, .gradient = formats.gradient};
  arrays.weight = whole ? static_cast<void*>(x.data()) : weight.data();
  arrays.low = whole ? nullptr : half ? static_cast<void*>(x.data()) : low.data();
  // What an optimizer does not keep, it must not touch.
  const bool has_m =
      std::visit([](const auto& s) { return uses_m<std::decay_t<decltype(s)>>; }, step);
  const bool has_v =
      std::visit([](const auto& s) { return uses_v<std::decay_t<decltype(s)>>; }, step);
  arrays.m = has_m ? m.data() : nullptr;
  arrays.v = has_v ? v.data() : nullptr;
  arrays.grad = wide ? static_cast<const void*>(grad.data()) : grad16.data();
  update(pool, step, arrays, count);
  for (std::size_t i = 0; i < count; ++i) {
    const AdamElement want = reference_rule(step, {problem.x[i], problem.m[i], problem.v[i]},
                                            float_of(gradient_bits(problem, i, formats.gradient)));
    const float got = whole || half ? x[i] : reference_join({weight[i], low[i]});
    const bool same_half = !half || weight[i] == fp32_to_fp16_bits(bits_of(want.x));
    if (bits_of(got) != bits_of(want.x) || bits_of(m[i]) != bits_of(want.m) ||
        bits_of(v[i]) != bits_of(want.v) || !same_half)
      FAIL() << "rule " << step.index() << ", master " << static_cast<int>(formats.master)
             << ", element " << i << " of " << count << ", shift " << shift << ": x " << got
             << " m " << m[i] << " v " << v[i] << ", reference x " << want.x << " m " << want.m
             << " v " << want.v;
  }
  for (const auto* array : {&x, &m, &v, &grad}) array->check_guards();
  for (const auto* array : {&weight, &low, &grad16}) array->check_guards();
}

class OptimizerEveryTarget : public testing::Test {
 protected:
  ~OptimizerEveryTarget() override { use_best_simd_target(); }
};

TEST_F(OptimizerEveryTarget, HasTheReferencesBitsForEveryLengthAndAlignment) {
  const Problem problem(150);
  for (const Hyper& hyper : all_hypers())
    for (const std::int64_t t : {1, 3}) {
      const UpdateStep step = make_step(hyper, t, 0.25, true);
      for (const SimdTarget& target : simd_targets()) {
        SCOPED_TRACE(target.name);
        use_simd_target(target);
        for (const Formats formats : all_formats)
          for (std::size_t count = 0; count <= problem.size(); count += count < 70 ? 1 : 7)
            run_and_compare(step, formats, nullptr, problem, count, count % 16);
        if (HasFatalFailure()) return;
      }
    }
}

TEST_F(OptimizerEveryTarget, HasTheReferencesBitsForEveryThreadCountAndWithoutDecay) {
  const Problem problem(200'003);
  ThreadPool three(3);
  for (const Hyper& hyper : all_hypers())
    for (const bool decay : {true, false}) {
      const UpdateStep step = make_step(hyper, 2, 1, decay);
      for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), &three})
        for (const Formats formats : all_formats)
          run_and_compare(step, formats, pool, problem, problem.size(), 3);
      if (HasFatalFailure()) return;
    }
}

TEST(Optimizer, FollowsItsFormulaInLongDouble) {
  constexpr std::size_t count = 500;
  for (const Hyper& hyper : all_hypers()) {
    if (std::holds_alternative<AdamHyper>(hyper)) continue;  // adamw_test.cpp
    SCOPED_TRACE(hyper.index());
    const CounterRandom random(5, "formula");
    std::vector<ExactOptimizer> exact(count, ExactOptimizer(hyper));
    std::vector<float> x(count), m(count), v(count), grad(count);
    for (std::size_t i = 0; i < count; ++i) exact[i].x = x[i] = random.normal(i);
    for (int t = 1; t <= 40; ++t) {
      for (std::size_t i = 0; i < count; ++i) {
        grad[i] = random.normal(static_cast<std::uint64_t>(t) * count + i);
        exact[i].step(0.5L * static_cast<long double>(grad[i]));
      }
      update(nullptr, make_step(hyper, t, 0.5, true),
             {.master = MasterFormat::whole,
              .gradient = GradientFormat::fp32,
              .weight = x.data(),
              .m = m.data(),
              .v = v.data(),
              .grad = grad.data()},
             count);
    }
    const OptimizerStates states = states_of(hyper);
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_NEAR(x[i], static_cast<double>(exact[i].x), 2e-5 * std::fmax(std::fabs(x[i]), 0.1F));
      if (!states.m) exact[i].m = 0;
      if (!states.v) exact[i].v = 0;
      ASSERT_NEAR(m[i], static_cast<double>(exact[i].m), 1e-5);
      ASSERT_NEAR(v[i], static_cast<double>(exact[i].v), 1e-5 * v[i]);
    }
  }
}

TEST(Optimizer, LeavesAZeroWithAZeroGradientAtZero) {
  // The gaps between parameters are updated with them and must stay zero.
  for (const Hyper& hyper : all_hypers())
    for (std::int64_t t = 1; t <= 3; ++t) {
      float x = 0, m = 0, v = 0;
      const float grad = 0;
      update(nullptr, make_step(hyper, t, 1, true),
             {.master = MasterFormat::whole,
              .gradient = GradientFormat::fp32,
              .weight = &x,
              .m = &m,
              .v = &v,
              .grad = &grad},
             1);
      EXPECT_EQ(bits_of(x), 0U) << hyper.index();
      EXPECT_EQ(bits_of(m), 0U) << hyper.index();
      EXPECT_EQ(bits_of(v), 0U) << hyper.index();
    }
}

TEST(Optimizer, AHalfWeightBesideItsMasterKeepsEveryBitOfTheMaster) {
  // Steps too small for fp16 add up in the master.
  float master = 1;
  std::uint16_t weight = fp32_to_fp16_bits(bits_of(master));
  const float grad = 1;
  for (int t = 1; t <= 100; ++t)
    update(nullptr, make_step(SgdHyper{.lr = 1e-4}, t, 1, true),
           {.master = MasterFormat::half,
            .gradient = GradientFormat::fp32,
            .weight = &weight,
            .low = &master,
            .grad = &grad},
           1);
  EXPECT_NEAR(master, 0.99, 1e-5);
  EXPECT_EQ(weight, fp32_to_fp16_bits(bits_of(master)));
}

TEST(Optimizer, ScalarsAreRoundedOnceFromDouble) {
  const auto lion = std::get<LionStep>(make_step(
      LionHyper{.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1}, 5, 2, true));
  EXPECT_EQ(lion.grad_scale, 2.0F);
  EXPECT_EQ(lion.one_minus_beta2, static_cast<float>(1 - 0.99));
  EXPECT_EQ(lion.lr_decay, static_cast<float>(3e-4 * 0.1));
  const SgdHyper sgd{.lr = 0.1, .momentum = 0.9, .dampening = 0.5};
  EXPECT_EQ(std::get<MomentumStep>(make_step(sgd, 1, 1, true)).one_minus_dampening, 1.0F);
  EXPECT_EQ(std::get<MomentumStep>(make_step(sgd, 2, 1, true)).one_minus_dampening, 0.5F);
  EXPECT_TRUE(std::holds_alternative<SgdStep>(make_step(SgdHyper{}, 1, 1, true)));
}

TEST(Optimizer, ASchedulesBetasReachThoseThatHaveSome) {
  Hyper lion = LionHyper{}, sgd = SgdHyper{.momentum = 0.5};
  set_betas(lion, 0.25, 0.75);
  set_betas(sgd, 0.25, 0.75);
  EXPECT_EQ(std::get<LionHyper>(lion).beta1, 0.25);
  EXPECT_EQ(std::get<LionHyper>(lion).beta2, 0.75);
  EXPECT_EQ(std::get<SgdHyper>(sgd).momentum, 0.5);
  set_learning_rate(sgd, 0.125);
  EXPECT_EQ(learning_rate(sgd), 0.125);
}

}  // namespace
}  // namespace fathom::kernels
