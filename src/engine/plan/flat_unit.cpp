// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/flat_unit.hpp"

#include "base/units.hpp"

namespace fathom::engine {

FlatUnit flatten(const models::UnitSpec& unit, std::uint32_t partitions) {
  FlatUnit flat;
  std::uint64_t at = 0;
  for (const models::ParameterSpec& parameter : unit.parameters) {
    at = round_up(at, parameter_alignment_elements);
    flat.offsets.push_back(at);
    at += parameter.elements();
  }
  flat.used = at;
  // 4 KiB of the narrowest weight, 2 bytes.
  const std::uint64_t grain =
      partitions == 1 ? parameter_alignment_elements : partitions * (io_alignment / 2);
  flat.elements = round_up(at, grain);
  return flat;
}

std::vector<DecayRun> decay_runs(const models::UnitSpec& unit, const FlatUnit& flat) {
  std::vector<DecayRun> runs;
  for (std::size_t i = 0; i < unit.parameters.size(); ++i) {
    const std::uint64_t end = i + 1 < unit.parameters.size() ? flat.offsets[i + 1] : flat.elements;
    const bool decays = unit.parameters[i].decays();
    if (!runs.empty() && runs.back().decays == decays) {
      runs.back().elements += end - flat.offsets[i];
    } else {
      runs.push_back({flat.offsets[i], end - flat.offsets[i], decays});
    }
  }
  return runs;
}

}  // namespace fathom::engine
