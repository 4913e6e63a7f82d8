// SPDX-License-Identifier: Apache-2.0
//
// FlatUnit: where each parameter of a unit lies in the unit's flat run of elements. Pure.
//
// Purpose      A unit is stored, moved and updated as one run. Each parameter begins at a multiple
// of
//              256 bytes of the compute weight so that its view is aligned; gaps are zero and stay
//              zero (their gradient is zero). The run is padded so that every rank's partition is
//              equal, and with several of them a multiple of 4 KiB of the compute weight, so that
//              each is read straight to where it lies in the whole unit.
// Units        Elements.
#pragma once

#include <cstdint>
#include <vector>

#include "models/spec.hpp"

namespace fathom::engine {

inline constexpr std::uint64_t parameter_alignment_elements = 128;  // 256 bytes of bf16

struct FlatUnit {
  std::vector<std::uint64_t> offsets;  // of each parameter of the UnitSpec
  std::uint64_t used = 0;              // of them up to the end of the last parameter
  std::uint64_t elements = 0;          // of the whole unit, a multiple of 128 × partitions
};

FlatUnit flatten(const models::UnitSpec& unit, std::uint32_t partitions);

// Runs of a unit that share a weight-decay rule, in order, covering [0, elements): gaps go with the
// parameter before them.
struct DecayRun {
  std::uint64_t first = 0, elements = 0;
  bool decays = false;
};
std::vector<DecayRun> decay_runs(const models::UnitSpec& unit, const FlatUnit& flat);

}  // namespace fathom::engine
