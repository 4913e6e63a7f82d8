// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/carry_layout.hpp"

#include <algorithm>

#include "base/units.hpp"

namespace fathom::engine {
namespace {

constexpr std::uint64_t alignment = 256;

std::uint64_t elements(const PlanInput& input, std::uint32_t carry) {
  return models::carry_elements(input.model.carries[carry], input.micro_batch,
                                {input.length, input.target_length});
}

std::uint64_t value_bytes(const PlanInput& input, std::uint32_t carry) {
  return round_up(elements(input, carry) * input.compute_bytes(), alignment);
}

std::uint64_t all_bytes(const PlanInput& input, std::uint32_t carry) {
  const bool sums = input.mode == Mode::train && input.model.carries[carry].shared;
  return value_bytes(input, carry) +
         (sums ? round_up(elements(input, carry) * sizeof(float), alignment) : 0);
}

}  // namespace

CarryPlace carry_place(const PlanInput& input, std::uint32_t carry) {
  CarryPlace place;
  for (const std::uint32_t other : input.model.units[input.model.carries[carry].producer].outputs) {
    if (other == carry) break;
    place.offset += all_bytes(input, other);
  }
  place.gradient = place.offset + value_bytes(input, carry);
  return place;
}

std::uint64_t carry_bytes(const PlanInput& input, std::uint32_t producer) {
  std::uint64_t sum = 0;
  for (const std::uint32_t carry : input.model.units[producer].outputs)
    sum += all_bytes(input, carry);
  return round_up(sum, io_alignment);
}

std::uint64_t live_carry_bytes(const PlanInput& input) {
  std::uint64_t most = 0;
  for (std::uint32_t unit = 1; unit < input.model.units.size(); ++unit) {
    std::uint64_t sum = 0;
    for (std::uint32_t carry = 0; carry < input.model.carries.size(); ++carry) {
      const models::CarrySpec& spec = input.model.carries[carry];
      if (spec.producer < unit && unit <= spec.last_user) sum += value_bytes(input, carry);
    }
    most = std::max(most, sum);
  }
  return round_up(most, io_alignment);
}

}  // namespace fathom::engine
