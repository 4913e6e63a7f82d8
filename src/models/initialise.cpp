// SPDX-License-Identifier: Apache-2.0
#include "models/initialise.hpp"

#include <algorithm>
#include <cstddef>

#include "base/assert.hpp"
#include "base/random.hpp"

namespace fathom::models {

void fill(const ParameterSpec& parameter, std::uint64_t seed, std::uint64_t first_element,
          std::span<float> out) {
  FATHOM_ASSERT(
      first_element <= parameter.elements() && out.size() <= parameter.elements() - first_element,
      "a slice beyond its parameter");
  switch (parameter.init) {
    case Init::ones: std::ranges::fill(out, 1.0F); return;
    case Init::zeros: std::ranges::fill(out, 0.0F); return;
    case Init::normal: break;
  }
  const CounterRandom stream(seed, parameter.name);
  const float std = static_cast<float>(parameter.init_std);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = std * stream.normal(first_element + i);
}

}  // namespace fathom::models
