// SPDX-License-Identifier: Apache-2.0
#include "kernels/update.hpp"

#include "kernels/simd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/update.cpp"
// This file is compiled once for each SIMD target; what follows HWY_ONCE, once only.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels {
namespace HWY_NAMESPACE {

// One vector of elements a rule. The order of operations is the contract of optimizer.hpp: every
// one of them rounds, and the CUDA kernels repeat them line by line.

HWY_INLINE void lanes(const AdamStep& s, VecF g, VecF& x, VecF& m, VecF& v) {
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

HWY_INLINE void lanes(const LionStep& s, VecF g, VecF& x, VecF& m, VecF& v) {
  const F32 d;
  (void)v;
  g = hn::Mul(g, hn::Set(d, s.grad_scale));
  const VecF c =
      hn::Add(hn::Mul(hn::Set(d, s.beta1), m), hn::Mul(hn::Set(d, s.one_minus_beta1), g));
  if (s.lr_decay != 0) x = hn::Sub(x, hn::Mul(hn::Set(d, s.lr_decay), x));
  // lr with the sign of c; 0 for a zero, and a NaN stays one.
  const VecF zero = hn::Zero(d);
  VecF change = hn::IfThenElse(hn::Gt(c, zero), hn::Set(d, s.lr), c);
  change = hn::IfThenElse(hn::Lt(c, zero), hn::Set(d, -s.lr), change);
  x = hn::Sub(x, change);
  m = hn::Add(hn::Mul(hn::Set(d, s.beta2), m), hn::Mul(hn::Set(d, s.one_minus_beta2), g));
  x = canonical_nan(x);
  m = canonical_nan(m);
}

HWY_INLINE void lanes(const SgdStep& s, VecF g, VecF& x, VecF& m, VecF& v) {
  const F32 d;
  (void)m;
  (void)v;
  g = hn::Mul(g, hn::Set(d, s.grad_scale));
  if (s.l2_decay != 0) g = hn::Add(g, hn::Mul(hn::Set(d, s.l2_decay), x));
  x = canonical_nan(hn::Sub(x, hn::Mul(hn::Set(d, s.lr), g)));
}

HWY_INLINE void lanes(const MomentumStep& s, VecF g, VecF& x, VecF& m, VecF& v) {
  const F32 d;
  (void)v;
  g = hn::Mul(g, hn::Set(d, s.grad_scale));
  if (s.l2_decay != 0) g = hn::Add(g, hn::Mul(hn::Set(d, s.l2_decay), x));
  m = hn::Add(hn::Mul(hn::Set(d, s.momentum), m), hn::Mul(hn::Set(d, s.one_minus_dampening), g));
  VecF direction = m;
  if (s.nesterov) direction = hn::Add(g, hn::Mul(hn::Set(d, s.momentum), m));
  x = hn::Sub(x, hn::Mul(hn::Set(d, s.lr), direction));
  x = canonical_nan(x);
  m = canonical_nan(m);
}

HWY_INLINE void lanes(const AdagradStep& s, VecF g, VecF& x, VecF& m, VecF& v) {
  const F32 d;
  (void)m;
  g = hn::Mul(g, hn::Set(d, s.grad_scale));
  if (s.l2_decay != 0) g = hn::Add(g, hn::Mul(hn::Set(d, s.l2_decay), x));
  v = hn::Add(v, hn::Mul(g, g));
  const VecF denominator = hn::Add(hn::Sqrt(v), hn::Set(d, s.eps));
  x = hn::Sub(x, hn::Div(hn::Mul(hn::Set(d, s.lr), g), denominator));
  x = canonical_nan(x);
  v = canonical_nan(v);
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::kernels
HWY_AFTER_NAMESPACE();

#include "kernels/update-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels {
namespace HWY_NAMESPACE {

void adam_run(const AdamStep& s, const UpdateArrays& a, std::size_t n) { update_run(s, a, n); }
void lion_run(const LionStep& s, const UpdateArrays& a, std::size_t n) { update_run(s, a, n); }
void sgd_run(const SgdStep& s, const UpdateArrays& a, std::size_t n) { update_run(s, a, n); }
void momentum_run(const MomentumStep& s, const UpdateArrays& a, std::size_t n) {
  update_run(s, a, n);
}
void adagrad_run(const AdagradStep& s, const UpdateArrays& a, std::size_t n) {
  update_run(s, a, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "base/assert.hpp"
#include "kernels/ranges.hpp"

namespace fathom::kernels {
namespace {

HWY_EXPORT(adam_run);
HWY_EXPORT(lion_run);
HWY_EXPORT(sgd_run);
HWY_EXPORT(momentum_run);
HWY_EXPORT(adagrad_run);

void run(const AdamStep& step, const UpdateArrays& arrays, std::size_t count) {
  HWY_DYNAMIC_DISPATCH(adam_run)(step, arrays, count);
}
void run(const LionStep& step, const UpdateArrays& arrays, std::size_t count) {
  HWY_DYNAMIC_DISPATCH(lion_run)(step, arrays, count);
}
void run(const SgdStep& step, const UpdateArrays& arrays, std::size_t count) {
  HWY_DYNAMIC_DISPATCH(sgd_run)(step, arrays, count);
}
void run(const MomentumStep& step, const UpdateArrays& arrays, std::size_t count) {
  HWY_DYNAMIC_DISPATCH(momentum_run)(step, arrays, count);
}
void run(const AdagradStep& step, const UpdateArrays& arrays, std::size_t count) {
  HWY_DYNAMIC_DISPATCH(adagrad_run)(step, arrays, count);
}
void run(const LambStep&, const UpdateArrays&, std::size_t) {
  FATHOM_ASSERT(false, "LAMB takes two passes: lamb.hpp");
}

void* moved(void* base, std::size_t bytes) {
  return base == nullptr ? nullptr : static_cast<std::byte*>(base) + bytes;
}

}  // namespace

UpdateArrays advanced(const UpdateArrays& arrays, std::size_t begin) {
  UpdateArrays out = arrays;
  const std::size_t weight = arrays.master == MasterFormat::whole ? 4 : 2;
  const std::size_t low = arrays.master == MasterFormat::half ? 4 : 2;
  const std::size_t grad = arrays.gradient == GradientFormat::fp32 ? 4 : 2;
  out.weight = moved(arrays.weight, begin * weight);
  out.low = moved(arrays.low, begin * low);
  if (out.m != nullptr) out.m += begin;
  if (out.v != nullptr) out.v += begin;
  if (arrays.grad != nullptr) out.grad = static_cast<const std::byte*>(arrays.grad) + begin * grad;
  return out;
}

void update(ThreadPool* pool, const UpdateStep& step, const UpdateArrays& arrays,
            std::size_t count) {
  std::visit(
      [&](const auto& scalars) {
        for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
          run(scalars, advanced(arrays, begin), end - begin);
        });
      },
      step);
}

}  // namespace fathom::kernels
#endif  // HWY_ONCE
