// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <fmt/format.h>

#include "base/random.hpp"

namespace fathom::engine {

std::int64_t sample(std::span<const float> logits, const Sampling& sampling, std::uint64_t seed,
                    std::uint64_t row, std::uint64_t position) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (sampling.temperature <= 0) return largest - logits.begin();
  std::vector<std::int64_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  if (sampling.top_k != 0 && sampling.top_k < order.size()) order.resize(sampling.top_k);
  std::vector<double> weight;
  for (const std::int64_t id : order)
    weight.push_back(
        std::exp((static_cast<double>(logits[static_cast<std::size_t>(id)]) - *largest) /
                 sampling.temperature));
  const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
  double kept = 0;
  std::size_t count = 0;
  while (count < weight.size() && (count == 0 || kept < sampling.top_p * total))
    kept += weight[count++];
  double target = CounterRandom(seed, fmt::format("sample {}", row)).uniform(position) * kept;
  for (std::size_t i = 0; i < count; ++i) {
    target -= weight[i];
    if (target < 0) return order[i];
  }
  return order[count - 1];
}

}  // namespace fathom::engine
