// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/norm.hpp"
#include "kernels/norm.hpp"

namespace fathom::kernels::cuda {
namespace {

// One thread block handles one block of 65536 elements. Its threads square a tile into shared
// memory while eight of them add the tile before, each one lane in the order of the CPU. Eight
// chains of additions a block are few, but hundreds of blocks run at once.
constexpr unsigned per_thread = 8, tile = threads * per_thread, lanes = 8;

struct Partial {
  double sum;
  std::uint64_t first_non_finite;
};

__global__ void __launch_bounds__(threads)
    block_kernel(const float* __restrict__ grad, std::size_t count, std::uint32_t overflow_bits,
                 Partial* __restrict__ partial) {
  __shared__ double squares[2][tile];
  __shared__ double lane_sums[lanes];
  __shared__ unsigned first;
  const unsigned t = threadIdx.x;
  const std::size_t start = static_cast<std::size_t>(blockIdx.x) * norm_block;
  const std::size_t left = count - start;
  const auto size = static_cast<unsigned>(left < norm_block ? left : norm_block);
  if (t == 0) first = norm_block;
  __syncthreads();

  const auto fill = [&](unsigned tile_start, double* to) {
#pragma unroll
    for (unsigned k = 0; k < per_thread; ++k) {
      const unsigned i = tile_start + k * threads + t;
      const float value = i < size ? grad[start + i] : 0.0F;
      const bool finite = (__float_as_uint(value) & 0x7fffffffU) < overflow_bits;
      if (!finite) atomicMin(&first, i);
      const double wide = finite ? static_cast<double>(value) : 0.0;
      to[k * threads + t] = __dmul_rn(wide, wide);
    }
  };

  fill(0, squares[0]);
  __syncthreads();
  double sum = 0;
  for (unsigned tile_start = 0, turn = 0; tile_start < size; tile_start += tile, turn ^= 1U) {
    if (tile_start + tile < size) fill(tile_start + tile, squares[turn ^ 1U]);
    if (t < lanes) {
#pragma unroll 16
      for (unsigned i = 0; i < tile; i += lanes) sum = __dadd_rn(sum, squares[turn][i + t]);
    }
    __syncthreads();
  }
  if (t < lanes) lane_sums[t] = sum;
  __syncthreads();
  if (t == 0) {
    const double* s = lane_sums;
    const double even = __dadd_rn(__dadd_rn(s[0], s[4]), __dadd_rn(s[2], s[6]));
    const double odd = __dadd_rn(__dadd_rn(s[1], s[5]), __dadd_rn(s[3], s[7]));
    partial[blockIdx.x] = {__dadd_rn(even, odd), first < norm_block ? start + first : no_index};
  }
}

// Adds the blocks in order, then the part to the total. One thread adds; the others bring the data.
__global__ void __launch_bounds__(threads)
    total_kernel(const Partial* __restrict__ partial, std::size_t blocks, std::uint64_t offset,
                 DeviceGradientStats* total) {
  __shared__ Partial piece[threads];
  double sum = 0;
  std::uint64_t first = no_index;
  for (std::size_t start = 0; start < blocks; start += threads) {
    if (start + threadIdx.x < blocks) piece[threadIdx.x] = partial[start + threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0) {
      const std::size_t left = blocks - start;
      const auto size = static_cast<unsigned>(left < threads ? left : threads);
      for (unsigned i = 0; i < size; ++i) {
        sum = __dadd_rn(sum, piece[i].sum);
        if (piece[i].first_non_finite < first) first = piece[i].first_non_finite;
      }
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    total->sum_squares = __dadd_rn(total->sum_squares, sum);
    if (first != no_index && offset + first < total->first_non_finite)
      total->first_non_finite = offset + first;
  }
}

__global__ void reset_kernel(DeviceGradientStats* total) {
  total->sum_squares = 0;
  total->first_non_finite = no_index;
}

std::size_t blocks_of(std::size_t count) { return (count + norm_block - 1) / norm_block; }

}  // namespace

std::size_t gradient_stats_workspace(std::size_t count) {
  return blocks_of(count) * sizeof(Partial);
}

Status reset_stats(Stream stream, DeviceGradientStats* total) {
  reset_kernel<<<1, 1, 0, stream>>>(total);
  return cudaGetLastError();
}

Status add_gradient_stats(Stream stream, const float* grad, std::size_t count, std::uint64_t offset,
                          void* workspace, DeviceGradientStats* total,
                          std::uint32_t overflow_bits) {
  if (count == 0) return cudaSuccess;
  const std::size_t blocks = blocks_of(count);
  auto* partial = static_cast<Partial*>(workspace);
  block_kernel<<<static_cast<unsigned>(blocks), threads, 0, stream>>>(grad, count, overflow_bits,
                                                                      partial);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  total_kernel<<<1, threads, 0, stream>>>(partial, blocks, offset, total);
  return cudaGetLastError();
}

}  // namespace fathom::kernels::cuda
