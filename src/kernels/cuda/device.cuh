// SPDX-License-Identifier: Apache-2.0
//
// Device code that several .cu files share: groups of four elements, and how kernels are launched.
//
// A thread handles four consecutive elements, with vector loads when every array is aligned to a
// group and element by element otherwise; both run the same function on each element.
#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

#include "kernels/bits.hpp"
#include "kernels/cuda/launch.hpp"

namespace fathom::kernels::cuda {

inline constexpr unsigned group = 4, threads = 256;

template <typename T>
struct alignas(group * sizeof(T)) Group {
  T at[group];
};

template <typename T>
bool is_aligned(const T* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % sizeof(Group<T>) == 0;
}

// Reads or writes up to four elements at `from`; `vector` says that there are four, aligned.
template <typename T>
__device__ __forceinline__ Group<T> load(const T* from, bool vector, unsigned count) {
  if (vector) return *reinterpret_cast<const Group<T>*>(from);
  Group<T> values = {};
  for (unsigned k = 0; k < group; ++k)
    if (k < count) values.at[k] = from[k];
  return values;
}

template <typename T>
__device__ __forceinline__ void store(T* to, const Group<T>& values, bool vector, unsigned count) {
  if (vector) {
    *reinterpret_cast<Group<T>*>(to) = values;
    return;
  }
  for (unsigned k = 0; k < group; ++k)
    if (k < count) to[k] = values.at[k];
}

// This thread's piece of `count` elements.
struct Piece {
  std::size_t begin;
  unsigned count;  // 0 … 4
  bool vector;
};

__device__ __forceinline__ Piece my_piece(std::size_t count, bool aligned) {
  const std::size_t begin =
      (static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x) * group;
  if (begin >= count) return {begin, 0, false};
  const std::size_t left = count - begin;
  if (left >= group) return {begin, group, aligned};
  return {begin, static_cast<unsigned>(left), false};
}

inline unsigned grid_of(std::size_t count) {
  constexpr std::size_t per_block = std::size_t{group} * threads;
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

__device__ __forceinline__ float canonical_nan(float value) {
  return is_nan_bits(__float_as_uint(value)) ? __uint_as_float(canonical_nan_bits) : value;
}

__device__ __forceinline__ float bf16_value(std::uint16_t bits) {
  return __uint_as_float(bf16_to_fp32_bits(bits));
}

}  // namespace fathom::kernels::cuda
