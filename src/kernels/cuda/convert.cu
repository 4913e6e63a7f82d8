// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/convert.hpp"
#include "kernels/cuda/device.cuh"

namespace fathom::kernels::cuda {
namespace {

// Each turns an element and what the output held into the output.
struct Bf16ToFp32 {
  __device__ float operator()(std::uint16_t in, float) const { return bf16_value(in); }
};
struct Fp32ToBf16 {
  __device__ std::uint16_t operator()(float in, std::uint16_t) const {
    return fp32_to_bf16_bits(__float_as_uint(in));
  }
};
struct Fp16ToFp32 {
  __device__ float operator()(std::uint16_t in, float) const {
    return __uint_as_float(fp16_to_fp32_bits(in));
  }
};
struct Fp32ToFp16 {
  __device__ std::uint16_t operator()(float in, std::uint16_t) const {
    return fp32_to_fp16_bits(__float_as_uint(in));
  }
};
struct AddBf16 {
  __device__ float operator()(std::uint16_t grad, float sum) const {
    return canonical_nan(__fadd_rn(sum, bf16_value(grad)));
  }
};
struct AddFp32 {
  __device__ float operator()(float grad, float sum) const {
    return canonical_nan(__fadd_rn(sum, grad));
  }
};

template <typename Function, bool in_place, typename Out, typename In>
__global__ void __launch_bounds__(threads)
    map_kernel(Out* __restrict__ out, const In* __restrict__ in, std::size_t count, bool aligned) {
  const Piece p = my_piece(count, aligned);
  if (p.count == 0) return;
  const Group<In> from = load(in + p.begin, p.vector, p.count);
  Group<Out> to = {};
  if constexpr (in_place) to = load(out + p.begin, p.vector, p.count);
#pragma unroll
  for (unsigned k = 0; k < group; ++k) to.at[k] = Function()(from.at[k], to.at[k]);
  store(out + p.begin, to, p.vector, p.count);
}

template <typename Function, bool in_place = false, typename Out, typename In>
Status map(Stream stream, Out* out, const In* in, std::size_t count) {
  if (count == 0) return cudaSuccess;
  const bool aligned = is_aligned(out) && is_aligned(in);
  map_kernel<Function, in_place><<<grid_of(count), threads, 0, stream>>>(out, in, count, aligned);
  return cudaGetLastError();
}

__global__ void __launch_bounds__(threads)
    split_kernel(std::uint16_t* __restrict__ weight, std::uint16_t* __restrict__ low,
                 const float* __restrict__ x, std::size_t count, bool aligned) {
  const Piece p = my_piece(count, aligned);
  if (p.count == 0) return;
  const Group<float> from = load(x + p.begin, p.vector, p.count);
  Group<std::uint16_t> w, lo;
#pragma unroll
  for (unsigned k = 0; k < group; ++k) {
    const std::uint32_t bits = __float_as_uint(from.at[k]);
    w.at[k] = split_weight(bits);
    lo.at[k] = split_low(bits);
  }
  store(weight + p.begin, w, p.vector, p.count);
  store(low + p.begin, lo, p.vector, p.count);
}

__global__ void __launch_bounds__(threads)
    join_kernel(float* __restrict__ x, const std::uint16_t* __restrict__ weight,
                const std::uint16_t* __restrict__ low, std::size_t count, bool aligned) {
  const Piece p = my_piece(count, aligned);
  if (p.count == 0) return;
  const Group<std::uint16_t> w = load(weight + p.begin, p.vector, p.count);
  const Group<std::uint16_t> lo = load(low + p.begin, p.vector, p.count);
  Group<float> to;
#pragma unroll
  for (unsigned k = 0; k < group; ++k) to.at[k] = __uint_as_float(join_split(w.at[k], lo.at[k]));
  store(x + p.begin, to, p.vector, p.count);
}

}  // namespace

Status bf16_to_fp32(Stream stream, float* out, const std::uint16_t* in, std::size_t count) {
  return map<Bf16ToFp32>(stream, out, in, count);
}

Status fp32_to_bf16(Stream stream, std::uint16_t* out, const float* in, std::size_t count) {
  return map<Fp32ToBf16>(stream, out, in, count);
}

Status fp16_to_fp32(Stream stream, float* out, const std::uint16_t* in, std::size_t count) {
  return map<Fp16ToFp32>(stream, out, in, count);
}

Status fp32_to_fp16(Stream stream, std::uint16_t* out, const float* in, std::size_t count) {
  return map<Fp32ToFp16>(stream, out, in, count);
}

Status split_master(Stream stream, std::uint16_t* weight, std::uint16_t* low, const float* x,
                    std::size_t count) {
  if (count == 0) return cudaSuccess;
  const bool aligned = is_aligned(weight) && is_aligned(low) && is_aligned(x);
  split_kernel<<<grid_of(count), threads, 0, stream>>>(weight, low, x, count, aligned);
  return cudaGetLastError();
}

Status join_master(Stream stream, float* x, const std::uint16_t* weight, const std::uint16_t* low,
                   std::size_t count) {
  if (count == 0) return cudaSuccess;
  const bool aligned = is_aligned(weight) && is_aligned(low) && is_aligned(x);
  join_kernel<<<grid_of(count), threads, 0, stream>>>(x, weight, low, count, aligned);
  return cudaGetLastError();
}

Status accumulate_bf16(Stream stream, float* sum, const std::uint16_t* grad, std::size_t count) {
  return map<AddBf16, true>(stream, sum, grad, count);
}

Status accumulate_fp32(Stream stream, float* sum, const float* grad, std::size_t count) {
  return map<AddFp32, true>(stream, sum, grad, count);
}

}  // namespace fathom::kernels::cuda
