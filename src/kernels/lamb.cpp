// SPDX-License-Identifier: Apache-2.0
#include "kernels/lamb.hpp"

#include "kernels/simd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/lamb.cpp"
// This file is compiled once for each SIMD target; what follows HWY_ONCE, once only.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/update-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels {
namespace HWY_NAMESPACE {

HWY_INLINE VecF direction_of(const LambStep& s, VecF x, VecF m, VecF v) {
  const F32 d;
  const VecF eps = hn::Set(d, s.eps);
  const VecF denominator =
      s.eps_inside_sqrt ? hn::Sqrt(hn::Add(v, eps)) : hn::Add(hn::Sqrt(v), eps);
  VecF u = hn::Div(m, denominator);
  if (s.decay != 0) u = hn::Add(u, hn::Mul(hn::Set(d, s.decay), x));
  return canonical_nan(u);
}

// Squares in double, lane j of 8 adding elements i with i % 8 == j, whatever the vector's width:
// the values of a stretch go through memory.
class SquareSum {
 public:
  HWY_INLINE void add(const float* values, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto wide = static_cast<double>(values[i]);
      lanes_[i % 8] += wide * wide;
    }
  }
  double total() const {
    return ((lanes_[0] + lanes_[4]) + (lanes_[2] + lanes_[6])) +
           ((lanes_[1] + lanes_[5]) + (lanes_[3] + lanes_[7]));
  }

 private:
  double lanes_[8] = {};
};

// Moments of one group, and its two sums.
void lamb_group_run(const LambStep& step, const UpdateArrays& arrays, std::size_t count,
                    double* weight_sum, double* direction_sum) {
  with_place<true, true>(arrays, [&](const auto& place) HWY_ATTR {
    const LambStep s = step;
    constexpr std::size_t stretch = 256;  // a multiple of 8 and of every vector's lanes
    float x_values[stretch], u_values[stretch];
    std::size_t filled = 0;
    SquareSum weights, directions;
    const auto body = [&](VecF& x, VecF& m, VecF& v, VecF g) HWY_ATTR {
      const F32 d;
      g = hn::Mul(g, hn::Set(d, s.grad_scale));
      m = hn::Add(hn::Mul(hn::Set(d, s.beta1), m), hn::Mul(hn::Set(d, s.one_minus_beta1), g));
      const VecF scaled = hn::Mul(hn::Set(d, s.one_minus_beta2), g);
      v = hn::Add(hn::Mul(hn::Set(d, s.beta2), v), hn::Mul(scaled, g));
      m = canonical_nan(m);
      v = canonical_nan(v);
      hn::StoreU(x, d, x_values + filled);
      hn::StoreU(direction_of(s, x, m, v), d, u_values + filled);
    };
    const std::size_t width = hn::Lanes(F32());
    for (std::size_t begin = 0; begin < count; begin += stretch) {
      const std::size_t size = HWY_MIN(stretch, count - begin);
      for (filled = 0; filled + width <= size; filled += width)
        place.at(begin + filled).vector(body);
      if (filled < size) place.at(begin + filled).tail(size - filled, body);
      weights.add(x_values, size);
      directions.add(u_values, size);
    }
    *weight_sum = weights.total();
    *direction_sum = directions.total();
  });
}

void lamb_apply_run(const LambStep& step, float rate, const UpdateArrays& arrays,
                    std::size_t count) {
  with_place<true, true>(arrays, [&](const auto& place) HWY_ATTR {
    const LambStep s = step;
    const auto body = [&](VecF& x, VecF& m, VecF& v, VecF g) HWY_ATTR {
      const F32 d;
      (void)g;
      const VecF change = hn::Mul(hn::Set(d, rate), direction_of(s, x, m, v));
      x = canonical_nan(hn::Sub(x, change));
    };
    const std::size_t width = hn::Lanes(F32());
    std::size_t i = 0;
    for (; i + width <= count; i += width) place.at(i).vector(body);
    if (i < count) place.at(i).tail(count - i, body);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/ranges.hpp"

namespace fathom::kernels {
namespace {

HWY_EXPORT(lamb_group_run);
HWY_EXPORT(lamb_apply_run);

}  // namespace

void lamb_moments(ThreadPool* pool, const LambStep& step, const UpdateArrays& arrays,
                  std::size_t count, std::size_t offset, LambNorms& total) {
  // Partial sums of a batch of groups live on the stack: the step allocates nothing.
  constexpr std::size_t batch_groups = 1024;
  std::array<LambNorms, batch_groups> partial;
  // Places are counted from the start of the group that `offset` lies in.
  const std::size_t lead = offset % lamb_group, end = lead + count;
  for (std::size_t start = 0; start < end; start += batch_groups * lamb_group) {
    const std::size_t size = std::min(batch_groups * lamb_group, end - start);
    for_ranges(pool, size, 16 * lamb_group, [&](std::size_t first, std::size_t last) {
      for (std::size_t at = first; at < last; at += lamb_group) {
        const std::size_t from = std::max(start + at, lead);
        const std::size_t to = start + std::min(at + lamb_group, last);
        LambNorms& sums = partial[at / lamb_group];
        HWY_DYNAMIC_DISPATCH(lamb_group_run)
        (step, advanced(arrays, from - lead), to - from, &sums.weight, &sums.direction);
      }
    });
    for (std::size_t group = 0; group * lamb_group < size; ++group) {
      total.weight += partial[group].weight;
      total.direction += partial[group].direction;
    }
  }
}

float lamb_rate(const LambStep& step, const LambNorms& norms) {
  double trust = 1;
  if (norms.weight != 0 && norms.direction != 0)
    trust = std::clamp(std::sqrt(norms.weight) / std::sqrt(norms.direction), step.min_coeff,
                       step.max_coeff);
  return static_cast<float>(step.rate * trust);
}

void lamb_apply(ThreadPool* pool, const LambStep& step, float rate, const UpdateArrays& arrays,
                std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(lamb_apply_run)(step, rate, advanced(arrays, begin), end - begin);
  });
}

}  // namespace fathom::kernels
#endif  // HWY_ONCE
