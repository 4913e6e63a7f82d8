// SPDX-License-Identifier: Apache-2.0
//
// CounterRandom: random numbers addressed by (seed, stream name, element index).
//
// Purpose      Initial weights and dropout must not depend on partition, rank, order or thread, so
//              there is no state to advance: element i of a stream is a pure function.
// Formula      Philox4x32-10, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC
//              2011. Normals by Box-Muller in double precision.
// Threads      Immutable; share freely.
//
//   CounterRandom stream(seed, "model.layers.0.mlp.up_proj.weight");
//   float w = 0.02F * stream.normal(i);
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace fathom {

class CounterRandom {
 public:
  CounterRandom(std::uint64_t seed, std::string_view stream);

  // Four independent 32-bit words for block `index`.
  std::array<std::uint32_t, 4> block(std::uint64_t index) const;

  std::uint32_t bits(std::uint64_t index) const;  // uniform 32 bits
  double uniform(std::uint64_t index) const;      // [0, 1), 53 bits
  float normal(std::uint64_t index) const;        // mean 0, variance 1

 private:
  std::array<std::uint32_t, 2> key_;
  std::uint64_t stream_;
};

// 64-bit FNV-1a, the stable hash of names.
constexpr std::uint64_t name_hash(std::string_view name) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return hash;
}

}  // namespace fathom
