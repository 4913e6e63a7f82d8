// SPDX-License-Identifier: Apache-2.0
#include "kernels/lamb.hpp"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "data.hpp"
#include "kernels/convert.hpp"
#include "kernels/targets.hpp"

namespace fathom::kernels {
namespace {

constexpr LambHyper usual_lamb{
    .lr = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.1};

struct Tensor {
  std::vector<float> x, m, v, grad;

  explicit Tensor(std::size_t count) : x(count), m(count), v(count), grad(count) {
    const CounterRandom random(8, "lamb");
    for (std::size_t i = 0; i < count; ++i) {
      x[i] = random.normal(3 * i);
      grad[i] = 0.1F * random.normal(3 * i + 1);
    }
  }
  UpdateArrays arrays() {
    return {.master = MasterFormat::whole,
            .gradient = GradientFormat::fp32,
            .weight = x.data(),
            .low = nullptr,
            .m = m.data(),
            .v = v.data(),
            .grad = grad.data()};
  }
};

// One step of a tensor that lies at `offset` in its unit, cut at the given places.
float lamb_step(ThreadPool* pool, const LambStep& step, const UpdateArrays& arrays,
                std::size_t count, std::size_t offset, const std::vector<std::size_t>& cuts = {}) {
  std::vector<std::size_t> ends = cuts;
  ends.push_back(count);
  LambNorms norms;
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    lamb_moments(pool, step, advanced(arrays, begin), end - begin, offset + begin, norms);
    begin = end;
  }
  const float rate = lamb_rate(step, norms);
  begin = 0;
  for (const std::size_t end : ends) {
    lamb_apply(pool, step, rate, advanced(arrays, begin), end - begin);
    begin = end;
  }
  return rate;
}

LambStep step_of(const LambHyper& hyper, std::int64_t t) {
  return std::get<LambStep>(make_step(hyper, t, 0.5, true));
}

TEST(Lamb, FollowsItsFormulaInLongDouble) {
  for (const bool inside : {false, true}) {
    LambHyper hyper = usual_lamb;
    hyper.eps_inside_sqrt = inside;
    Tensor tensor(3000);
    const std::size_t n = tensor.x.size();
    std::vector<long double> x(tensor.x.begin(), tensor.x.end()), m(n), v(n), u(n);
    for (int t = 1; t <= 20; ++t) {
      long double x2 = 0, u2 = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const long double g = 0.5L * static_cast<long double>(tensor.grad[i]);
        m[i] = hyper.beta1 * m[i] + (1 - static_cast<long double>(hyper.beta1)) * g;
        v[i] = hyper.beta2 * v[i] + (1 - static_cast<long double>(hyper.beta2)) * g * g;
        const long double eps = hyper.eps;
        u[i] = m[i] / (inside ? std::sqrt(v[i] + eps) : std::sqrt(v[i]) + eps) +
               hyper.weight_decay * x[i];
        x2 += x[i] * x[i];
        u2 += u[i] * u[i];
      }
      const long double trust = std::fmin(std::fmax(std::sqrt(x2) / std::sqrt(u2), 0.01L), 10.0L);
      const long double rate =
          hyper.lr * std::sqrt(1 - std::pow(0.99L, t)) / (1 - std::pow(0.9L, t));
      for (std::size_t i = 0; i < n; ++i) x[i] -= rate * trust * u[i];
      lamb_step(nullptr, step_of(hyper, t), tensor.arrays(), n, 0);
    }
    for (std::size_t i = 0; i < n; ++i)
      ASSERT_NEAR(tensor.x[i], static_cast<double>(x[i]), 2e-5) << i << ", inside " << inside;
  }
}

TEST(Lamb, HasTheSameBitsForEveryTargetThreadCountAndCut) {
  constexpr std::size_t count = 50'003, offset = 128 * 7;
  Tensor wanted(count);
  const LambStep step = step_of(usual_lamb, 3);
  const float rate = lamb_step(nullptr, step, wanted.arrays(), count, offset);
  ThreadPool three(3);
  // Cuts lie at multiples of 4096 of the unit.
  const std::vector<std::vector<std::size_t>> cuts = {
      {}, {4096 - offset}, {4096 * 3 - offset, 4096 * 4 - offset, 4096 * 10 - offset}};
  for (const SimdTarget& target : simd_targets()) {
    SCOPED_TRACE(target.name);
    use_simd_target(target);
    for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), &three})
      for (const auto& cut : cuts) {
        Tensor got(count);
        EXPECT_EQ(bits_of(lamb_step(pool, step, got.arrays(), count, offset, cut)), bits_of(rate));
        EXPECT_EQ(first_difference(got.x.data(), wanted.x.data(), count), count);
        EXPECT_EQ(first_difference(got.m.data(), wanted.m.data(), count), count);
        EXPECT_EQ(first_difference(got.v.data(), wanted.v.data(), count), count);
      }
  }
  use_best_simd_target();
}

TEST(Lamb, EveryMasterTrainsAlike) {
  constexpr std::size_t count = 9001;
  Tensor whole(count), split(count), half(count);
  std::vector<std::uint16_t> weight(count), low(count), half_weight(count);
  split_master(nullptr, weight.data(), low.data(), split.x.data(), count);
  for (int t = 1; t <= 5; ++t) {
    const LambStep step = step_of(usual_lamb, t);
    lamb_step(nullptr, step, whole.arrays(), count, 0);
    UpdateArrays arrays = split.arrays();
    arrays.master = MasterFormat::split, arrays.weight = weight.data(), arrays.low = low.data();
    lamb_step(nullptr, step, arrays, count, 0);
    arrays = half.arrays();
    arrays.master = MasterFormat::half, arrays.weight = half_weight.data(),
    arrays.low = half.x.data();
    lamb_step(nullptr, step, arrays, count, 0);
  }
  join_master(nullptr, split.x.data(), weight.data(), low.data(), count);
  EXPECT_EQ(first_difference(split.x.data(), whole.x.data(), count), count);
  EXPECT_EQ(first_difference(half.x.data(), whole.x.data(), count), count);
}

TEST(Lamb, KeepsItsRatioWithinTheCoefficients) {
  const LambStep step = step_of(usual_lamb, 1'000'000);
  const auto rate = [&](double weight, double direction) {
    return lamb_rate(step, {.weight = weight, .direction = direction});
  };
  EXPECT_EQ(rate(4, 1), static_cast<float>(0.01 * 2));
  EXPECT_EQ(rate(1e9, 1), static_cast<float>(0.01 * 10));
  EXPECT_EQ(rate(1, 1e9), static_cast<float>(0.01 * 0.01));
  EXPECT_EQ(rate(0, 1), static_cast<float>(0.01)) << "a new tensor of zeros";
  EXPECT_EQ(rate(1, 0), static_cast<float>(0.01));
}

}  // namespace
}  // namespace fathom::kernels
