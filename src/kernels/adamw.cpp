// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw.hpp"

#include "kernels/simd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/adamw.cpp"
// This file is compiled once for each SIMD target; what follows HWY_ONCE, once only.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels {
namespace HWY_NAMESPACE {

// One vector of elements. The order of operations is the contract of adamw.hpp: every one of them
// rounds, and the CUDA kernel repeats them line by line.
HWY_INLINE void adam_lanes(const AdamStep& s, VecF g, VecF& x, VecF& m, VecF& v) {
  const F32 d;
  g = hn::Mul(g, hn::Set(d, s.grad_scale));
  if (s.l2_decay != 0) g = hn::Add(g, hn::Mul(hn::Set(d, s.l2_decay), x));
  if (s.lr_decay != 0) x = hn::Sub(x, hn::Mul(hn::Set(d, s.lr_decay), x));
  m = hn::Add(hn::Mul(hn::Set(d, s.beta1), m), hn::Mul(hn::Set(d, s.one_minus_beta1), g));
  const VecF scaled = hn::Mul(hn::Set(d, s.one_minus_beta2), g);
  v = hn::Add(hn::Mul(hn::Set(d, s.beta2), v), hn::Mul(scaled, g));
  const VecF root = hn::Div(hn::Sqrt(v), hn::Set(d, s.sqrt_bias2));
  const VecF denominator = hn::Add(root, hn::Set(d, s.eps));
  x = hn::Sub(x, hn::Div(hn::Mul(hn::Set(d, s.step_size), m), denominator));
  x = canonical_nan(x);
  m = canonical_nan(m);
  v = canonical_nan(v);
}

HWY_INLINE VecF load_grad(const float* from) { return hn::LoadU(F32(), from); }
HWY_INLINE VecF load_grad(const std::uint16_t* from) { return load_bf16(from); }

template <typename Grad>
HWY_INLINE void split_lanes(const AdamStep& s, std::uint16_t* weight, std::uint16_t* low, float* m,
                            float* v, const Grad* grad) {
  const F32 d;
  VecF x = join(weight, low), first = hn::LoadU(d, m), second = hn::LoadU(d, v);
  adam_lanes(s, load_grad(grad), x, first, second);
  split(x, weight, low);
  hn::StoreU(first, d, m);
  hn::StoreU(second, d, v);
}

template <typename Grad>
void split_range(const AdamStep& step, std::uint16_t* weight, std::uint16_t* low, float* m,
                 float* v, const Grad* grad, std::size_t count) {
  const AdamStep s = step;  // a copy that the stores below cannot alias
  const std::size_t lanes = hn::Lanes(F32());
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes)
    split_lanes(s, weight + i, low + i, m + i, v + i, grad + i);
  if (const std::size_t rest = count - i; rest != 0) {
    Tail w(weight + i, rest), l(low + i, rest);
    Tail first(m + i, rest), second(v + i, rest);
    const Tail g(grad + i, rest);
    split_lanes(s, w.data, l.data, first.data, second.data, g.data);
    w.put(weight + i, rest);
    l.put(low + i, rest);
    first.put(m + i, rest);
    second.put(v + i, rest);
  }
}

void split_range_bf16(const AdamStep& step, std::uint16_t* weight, std::uint16_t* low, float* m,
                      float* v, const std::uint16_t* grad, std::size_t count) {
  split_range(step, weight, low, m, v, grad, count);
}

void split_range_fp32(const AdamStep& step, std::uint16_t* weight, std::uint16_t* low, float* m,
                      float* v, const float* grad, std::size_t count) {
  split_range(step, weight, low, m, v, grad, count);
}

HWY_INLINE void whole_lanes(const AdamStep& s, float* weight, float* m, float* v,
                            const float* grad) {
  const F32 d;
  VecF x = hn::LoadU(d, weight), first = hn::LoadU(d, m), second = hn::LoadU(d, v);
  adam_lanes(s, load_grad(grad), x, first, second);
  hn::StoreU(x, d, weight);
  hn::StoreU(first, d, m);
  hn::StoreU(second, d, v);
}

void whole_range(const AdamStep& step, float* weight, float* m, float* v, const float* grad,
                 std::size_t count) {
  const AdamStep s = step;
  const std::size_t lanes = hn::Lanes(F32());
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) whole_lanes(s, weight + i, m + i, v + i, grad + i);
  if (const std::size_t rest = count - i; rest != 0) {
    Tail w(weight + i, rest), first(m + i, rest), second(v + i, rest);
    const Tail g(grad + i, rest);
    whole_lanes(s, w.data, first.data, second.data, g.data);
    w.put(weight + i, rest);
    first.put(m + i, rest);
    second.put(v + i, rest);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <cmath>

#include "base/assert.hpp"
#include "kernels/ranges.hpp"

namespace fathom::kernels {

HWY_EXPORT(split_range_bf16);
HWY_EXPORT(split_range_fp32);
HWY_EXPORT(whole_range);

AdamStep adam_step(const AdamHyper& hyper, std::int64_t step, double grad_scale, bool decay) {
  FATHOM_ASSERT(step >= 1, "optimizer steps count from 1");
  const auto t = static_cast<double>(step);
  const double bias1 = hyper.bias_correction ? 1 - std::pow(hyper.beta1, t) : 1;
  const double bias2 = hyper.bias_correction ? 1 - std::pow(hyper.beta2, t) : 1;
  AdamStep scalars;
  scalars.grad_scale = static_cast<float>(grad_scale);
  scalars.beta1 = static_cast<float>(hyper.beta1);
  scalars.one_minus_beta1 = static_cast<float>(1 - hyper.beta1);
  scalars.beta2 = static_cast<float>(hyper.beta2);
  scalars.one_minus_beta2 = static_cast<float>(1 - hyper.beta2);
  scalars.eps = static_cast<float>(hyper.eps);
  scalars.step_size = static_cast<float>(hyper.lr / bias1);
  scalars.sqrt_bias2 = static_cast<float>(std::sqrt(bias2));
  if (decay && hyper.decoupled)
    scalars.lr_decay = static_cast<float>(hyper.lr * hyper.weight_decay);
  if (decay && !hyper.decoupled) scalars.l2_decay = static_cast<float>(hyper.weight_decay);
  return scalars;
}

void adamw_split(ThreadPool* pool, const AdamStep& step, std::uint16_t* weight, std::uint16_t* low,
                 float* m, float* v, const std::uint16_t* grad_bf16, std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(split_range_bf16)
    (step, weight + begin, low + begin, m + begin, v + begin, grad_bf16 + begin, end - begin);
  });
}

void adamw_split(ThreadPool* pool, const AdamStep& step, std::uint16_t* weight, std::uint16_t* low,
                 float* m, float* v, const float* grad, std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(split_range_fp32)
    (step, weight + begin, low + begin, m + begin, v + begin, grad + begin, end - begin);
  });
}

void adamw_fp32(ThreadPool* pool, const AdamStep& step, float* weight, float* m, float* v,
                const float* grad, std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(whole_range)
    (step, weight + begin, m + begin, v + begin, grad + begin, end - begin);
  });
}

}  // namespace fathom::kernels
#endif  // HWY_ONCE
