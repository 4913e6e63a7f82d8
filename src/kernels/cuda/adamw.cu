// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/adamw.hpp"
#include "kernels/cuda/device.cuh"

namespace fathom::kernels::cuda {
namespace {

__device__ __forceinline__ float grad_value(float value) { return value; }
__device__ __forceinline__ float grad_value(std::uint16_t bits) { return bf16_value(bits); }

// adam_lanes of kernels/adamw.cpp for one element, line by line. The intrinsics round to nearest
// and are never fused, whatever the compiler's flags.
__device__ __forceinline__ void adam_element(const AdamStep& s, float g, float& x, float& m,
                                             float& v) {
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

__device__ __forceinline__ bool held(const DeviceGradientStats* guard) {
  return guard != nullptr && guard->first_non_finite != no_index;
}

template <typename Grad>
__global__ void __launch_bounds__(threads)
    split_kernel(AdamStep step, std::uint16_t* __restrict__ weight, std::uint16_t* __restrict__ low,
                 float* __restrict__ m, float* __restrict__ v, const Grad* __restrict__ grad,
                 std::size_t count, bool aligned, const DeviceGradientStats* __restrict__ guard) {
  const Piece p = my_piece(count, aligned);
  if (p.count == 0 || held(guard)) return;
  Group<std::uint16_t> w = load(weight + p.begin, p.vector, p.count);
  Group<std::uint16_t> lo = load(low + p.begin, p.vector, p.count);
  Group<float> first = load(m + p.begin, p.vector, p.count);
  Group<float> second = load(v + p.begin, p.vector, p.count);
  const Group<Grad> g = load(grad + p.begin, p.vector, p.count);
#pragma unroll
  for (unsigned k = 0; k < group; ++k) {
    float x = __uint_as_float(join_split(w.at[k], lo.at[k]));
    adam_element(step, grad_value(g.at[k]), x, first.at[k], second.at[k]);
    const std::uint32_t bits = __float_as_uint(x);
    w.at[k] = split_weight(bits);
    lo.at[k] = split_low(bits);
  }
  store(weight + p.begin, w, p.vector, p.count);
  store(low + p.begin, lo, p.vector, p.count);
  store(m + p.begin, first, p.vector, p.count);
  store(v + p.begin, second, p.vector, p.count);
}

__global__ void __launch_bounds__(threads)
    whole_kernel(AdamStep step, float* __restrict__ weight, float* __restrict__ m,
                 float* __restrict__ v, const float* __restrict__ grad, std::size_t count,
                 bool aligned, const DeviceGradientStats* __restrict__ guard) {
  const Piece p = my_piece(count, aligned);
  if (p.count == 0 || held(guard)) return;
  Group<float> x = load(weight + p.begin, p.vector, p.count);
  Group<float> first = load(m + p.begin, p.vector, p.count);
  Group<float> second = load(v + p.begin, p.vector, p.count);
  const Group<float> g = load(grad + p.begin, p.vector, p.count);
#pragma unroll
  for (unsigned k = 0; k < group; ++k)
    adam_element(step, g.at[k], x.at[k], first.at[k], second.at[k]);
  store(weight + p.begin, x, p.vector, p.count);
  store(m + p.begin, first, p.vector, p.count);
  store(v + p.begin, second, p.vector, p.count);
}

template <typename Grad>
Status launch_split(Stream stream, const AdamStep& step, std::uint16_t* weight, std::uint16_t* low,
                    float* m, float* v, const Grad* grad, std::size_t count,
                    const DeviceGradientStats* guard) {
  if (count == 0) return cudaSuccess;
  const bool aligned =
      is_aligned(weight) && is_aligned(low) && is_aligned(m) && is_aligned(v) && is_aligned(grad);
  split_kernel<<<grid_of(count), threads, 0, stream>>>(step, weight, low, m, v, grad, count,
                                                       aligned, guard);
  return cudaGetLastError();
}

}  // namespace

Status adamw_split(Stream stream, const AdamStep& step, std::uint16_t* weight, std::uint16_t* low,
                   float* m, float* v, const std::uint16_t* grad_bf16, std::size_t count,
                   const DeviceGradientStats* guard) {
  return launch_split(stream, step, weight, low, m, v, grad_bf16, count, guard);
}

Status adamw_split(Stream stream, const AdamStep& step, std::uint16_t* weight, std::uint16_t* low,
                   float* m, float* v, const float* grad, std::size_t count,
                   const DeviceGradientStats* guard) {
  return launch_split(stream, step, weight, low, m, v, grad, count, guard);
}

Status adamw_fp32(Stream stream, const AdamStep& step, float* weight, float* m, float* v,
                  const float* grad, std::size_t count, const DeviceGradientStats* guard) {
  if (count == 0) return cudaSuccess;
  const bool aligned = is_aligned(weight) && is_aligned(m) && is_aligned(v) && is_aligned(grad);
  whole_kernel<<<grid_of(count), threads, 0, stream>>>(step, weight, m, v, grad, count, aligned,
                                                       guard);
  return cudaGetLastError();
}

const char* status_text(Status status) {
  return cudaGetErrorString(static_cast<cudaError_t>(status));
}

}  // namespace fathom::kernels::cuda
