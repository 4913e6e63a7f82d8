// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/adamw.hpp"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/update.hpp"

namespace fathom::kernels::cuda {
namespace {

// The rules of kernels/update.cpp for one element, line by line. The intrinsics round to nearest
// and are never fused, whatever the compiler's flags.

__device__ __forceinline__ void element(const AdamStep& s, float g, float& x, float& m, float& v) {
  g = __fmul_rn(g, s.grad_scale);
  if (s.l2_decay != 0) g = __fadd_rn(g, __fmul_rn(s.l2_decay, x));
  if (s.lr_decay != 0) x = __fsub_rn(x, __fmul_rn(s.lr_decay, x));
  m = __fadd_rn(__fmul_rn(s.beta1, m), __fmul_rn(s.one_minus_beta1, g));
  const float scaled = __fmul_rn(s.one_minus_beta2, g);
  v = __fadd_rn(__fmul_rn(s.beta2, v), __fmul_rn(scaled, g));
  const float root = __fdiv_rn(__fsqrt_rn(v), s.sqrt_bias2);
  const float denominator = __fadd_rn(root, s.eps);
  x = __fsub_rn(x, __fdiv_rn(__fmul_rn(s.step_size, m), denominator));
  x = canonical_nan(x);
  m = canonical_nan(m);
  v = canonical_nan(v);
}

__device__ __forceinline__ void element(const LionStep& s, float g, float& x, float& m, float&) {
  g = __fmul_rn(g, s.grad_scale);
  const float c = __fadd_rn(__fmul_rn(s.beta1, m), __fmul_rn(s.one_minus_beta1, g));
  if (s.lr_decay != 0) x = __fsub_rn(x, __fmul_rn(s.lr_decay, x));
  const float change = c > 0 ? s.lr : c < 0 ? -s.lr : c;
  x = __fsub_rn(x, change);
  m = __fadd_rn(__fmul_rn(s.beta2, m), __fmul_rn(s.one_minus_beta2, g));
  x = canonical_nan(x);
  m = canonical_nan(m);
}

__device__ __forceinline__ void element(const SgdStep& s, float g, float& x, float&, float&) {
  g = __fmul_rn(g, s.grad_scale);
  if (s.l2_decay != 0) g = __fadd_rn(g, __fmul_rn(s.l2_decay, x));
  x = canonical_nan(__fsub_rn(x, __fmul_rn(s.lr, g)));
}

__device__ __forceinline__ void element(const MomentumStep& s, float g, float& x, float& m,
                                        float&) {
  g = __fmul_rn(g, s.grad_scale);
  if (s.l2_decay != 0) g = __fadd_rn(g, __fmul_rn(s.l2_decay, x));
  m = __fadd_rn(__fmul_rn(s.momentum, m), __fmul_rn(s.one_minus_dampening, g));
  const float direction = s.nesterov ? __fadd_rn(g, __fmul_rn(s.momentum, m)) : m;
  x = __fsub_rn(x, __fmul_rn(s.lr, direction));
  x = canonical_nan(x);
  m = canonical_nan(m);
}

__device__ __forceinline__ void element(const AdagradStep& s, float g, float& x, float&, float& v) {
  g = __fmul_rn(g, s.grad_scale);
  if (s.l2_decay != 0) g = __fadd_rn(g, __fmul_rn(s.l2_decay, x));
  v = __fadd_rn(v, __fmul_rn(g, g));
  const float denominator = __fadd_rn(__fsqrt_rn(v), s.eps);
  x = __fsub_rn(x, __fdiv_rn(__fmul_rn(s.lr, g), denominator));
  x = canonical_nan(x);
  v = canonical_nan(v);
}

struct SplitMaster {
  using Weight = std::uint16_t;
  using Low = std::uint16_t;
  static constexpr bool has_low = true;
  static __device__ __forceinline__ float load(Weight weight, Low low) {
    return __uint_as_float(join_split(weight, low));
  }
  static __device__ __forceinline__ void store(float x, Weight& weight, Low& low) {
    weight = split_weight(__float_as_uint(x));
    low = split_low(__float_as_uint(x));
  }
};
struct WholeMaster {
  using Weight = float;
  using Low = float;
  static constexpr bool has_low = false;
  static __device__ __forceinline__ float load(Weight weight, Low) { return weight; }
  static __device__ __forceinline__ void store(float x, Weight& weight, Low&) { weight = x; }
};
struct HalfMaster {
  using Weight = std::uint16_t;
  using Low = float;
  static constexpr bool has_low = true;
  static __device__ __forceinline__ float load(Weight, Low low) { return low; }
  static __device__ __forceinline__ void store(float x, Weight& weight, Low& low) {
    weight = fp32_to_fp16_bits(__float_as_uint(x));
    low = x;
  }
};

struct Bf16Gradient {
  using Element = std::uint16_t;
  static __device__ __forceinline__ float value(Element bits) { return bf16_value(bits); }
};
struct Fp16Gradient {
  using Element = std::uint16_t;
  static __device__ __forceinline__ float value(Element bits) {
    return __uint_as_float(fp16_to_fp32_bits(bits));
  }
};
struct Fp32Gradient {
  using Element = float;
  static __device__ __forceinline__ float value(Element value) { return value; }
};

template <class Master, class Gradient, class Step>
__global__ void __launch_bounds__(threads)
    update_kernel(Step step, typename Master::Weight* __restrict__ weight,
                  typename Master::Low* __restrict__ low, float* __restrict__ m,
                  float* __restrict__ v, const typename Gradient::Element* __restrict__ grad,
                  std::size_t count, bool aligned, const DeviceGradientStats* __restrict__ guard) {
  const Piece p = my_piece(count, aligned);
  if (p.count == 0 || (guard != nullptr && guard->first_non_finite != no_index)) return;
  Group<typename Master::Weight> w = load(weight + p.begin, p.vector, p.count);
  Group<typename Master::Low> lo = {};
  Group<float> first = {}, second = {};
  if constexpr (Master::has_low) lo = load(low + p.begin, p.vector, p.count);
  if constexpr (uses_m<Step>) first = load(m + p.begin, p.vector, p.count);
  if constexpr (uses_v<Step>) second = load(v + p.begin, p.vector, p.count);
  const Group<typename Gradient::Element> g = load(grad + p.begin, p.vector, p.count);
#pragma unroll
  for (unsigned k = 0; k < group; ++k) {
    float x = Master::load(w.at[k], lo.at[k]);
    element(step, Gradient::value(g.at[k]), x, first.at[k], second.at[k]);
    Master::store(x, w.at[k], lo.at[k]);
  }
  store(weight + p.begin, w, p.vector, p.count);
  if constexpr (Master::has_low) store(low + p.begin, lo, p.vector, p.count);
  if constexpr (uses_m<Step>) store(m + p.begin, first, p.vector, p.count);
  if constexpr (uses_v<Step>) store(v + p.begin, second, p.vector, p.count);
}

template <class Master, class Gradient, class Step>
Status launch(Stream stream, const Step& step, const UpdateArrays& a, std::size_t count,
              const DeviceGradientStats* guard) {
  if (count == 0) return cudaSuccess;
  auto* weight = static_cast<typename Master::Weight*>(a.weight);
  auto* low = static_cast<typename Master::Low*>(a.low);
  const auto* grad = static_cast<const typename Gradient::Element*>(a.grad);
  // Absent arrays are null, which is aligned.
  const bool aligned = is_aligned(weight) && is_aligned(low) && is_aligned(a.m) &&
                       is_aligned(a.v) && is_aligned(grad);
  update_kernel<Master, Gradient><<<grid_of(count), threads, 0, stream>>>(
      step, weight, low, a.m, a.v, grad, count, aligned, guard);
  return cudaGetLastError();
}

template <class Step>
Status launch_formats(Stream stream, const Step& step, const UpdateArrays& a, std::size_t count,
                      const DeviceGradientStats* guard) {
  const bool wide = a.gradient == GradientFormat::fp32;
  switch (a.master) {
    case MasterFormat::split:
      if (wide) return launch<SplitMaster, Fp32Gradient>(stream, step, a, count, guard);
      if (a.gradient == GradientFormat::bf16)
        return launch<SplitMaster, Bf16Gradient>(stream, step, a, count, guard);
      break;
    case MasterFormat::whole:
      if (wide) return launch<WholeMaster, Fp32Gradient>(stream, step, a, count, guard);
      break;
    case MasterFormat::half:
      if (wide) return launch<HalfMaster, Fp32Gradient>(stream, step, a, count, guard);
      if (a.gradient == GradientFormat::fp16)
        return launch<HalfMaster, Fp16Gradient>(stream, step, a, count, guard);
      break;
  }
  return cudaErrorInvalidValue;  // no such pair of formats
}

struct Launch {
  Stream stream;
  const UpdateArrays& arrays;
  std::size_t count;
  const DeviceGradientStats* guard;

  template <class Step>
  Status operator()(const Step& step) const {
    return launch_formats(stream, step, arrays, count, guard);
  }
  Status operator()(const LambStep&) const { return cudaErrorInvalidValue; }  // two passes
};

}  // namespace

Status update(Stream stream, const UpdateStep& step, const UpdateArrays& arrays, std::size_t count,
              const DeviceGradientStats* guard) {
  return std::visit(Launch{stream, arrays, count, guard}, step);
}

Status adamw_split(Stream stream, const AdamStep& step, std::uint16_t* weight, std::uint16_t* low,
                   float* m, float* v, const std::uint16_t* grad_bf16, std::size_t count) {
  return update(stream, step,
                {MasterFormat::split, GradientFormat::bf16, weight, low, m, v, grad_bf16}, count);
}

Status adamw_split(Stream stream, const AdamStep& step, std::uint16_t* weight, std::uint16_t* low,
                   float* m, float* v, const float* grad, std::size_t count) {
  return update(stream, step, {MasterFormat::split, GradientFormat::fp32, weight, low, m, v, grad},
                count);
}

Status adamw_fp32(Stream stream, const AdamStep& step, float* weight, float* m, float* v,
                  const float* grad, std::size_t count) {
  return update(stream, step,
                {MasterFormat::whole, GradientFormat::fp32, weight, nullptr, m, v, grad}, count);
}

const char* status_text(Status status) {
  return cudaGetErrorString(static_cast<cudaError_t>(status));
}

}  // namespace fathom::kernels::cuda
