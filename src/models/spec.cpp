// SPDX-License-Identifier: Apache-2.0
#include "models/spec.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "base/units.hpp"

namespace fathom::models {

std::uint64_t ParameterSpec::elements() const {
  std::uint64_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::uint64_t>(size);
  return count;
}

std::uint64_t UnitSpec::elements() const {
  std::uint64_t count = 0;
  for (const ParameterSpec& parameter : parameters) count += parameter.elements();
  return count;
}

std::uint64_t ModelSpec::parameters() const {
  std::uint64_t count = 0;
  for (const UnitSpec& unit : units) count += unit.elements();
  return count;
}

void chain_carries(ModelSpec& spec) {
  for (std::uint32_t u = 0; u + 1 < spec.units.size(); ++u) {
    spec.carries.push_back({.width = spec.hidden, .producer = u, .last_user = u + 1});
    spec.units[u].outputs = {u};
    spec.units[u + 1].inputs = {u};
  }
}

double unit_products(const UnitSpec& unit, const Lengths& lengths) {
  return static_cast<double>(unit.matmul_elements) * static_cast<double>(lengths.of(unit.side)) +
         static_cast<double>(unit.source_elements) * static_cast<double>(lengths.source);
}

std::uint64_t carry_elements(const CarrySpec& carry, std::uint64_t batch, const Lengths& lengths) {
  return carry.width * (carry.rows != 0 ? carry.rows : batch * lengths.of(carry.side));
}

std::uint64_t loss_chunk_rows(const ModelSpec& spec, std::uint64_t rows) {
  FATHOM_ASSERT(spec.vocabulary > 0, "a model without vocabulary");
  const std::uint64_t fit = 128 * MiB / (spec.vocabulary * sizeof(float));
  return std::clamp<std::uint64_t>(fit, 1, std::max<std::uint64_t>(rows, 1));
}

}  // namespace fathom::models
