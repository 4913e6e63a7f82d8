// SPDX-License-Identifier: Apache-2.0
#include "statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace fathom::aio_bench {

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const double at = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return std::lerp(values[below], values[above], at - static_cast<double>(below));
}

double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

double deviation(std::span<const double> values) {
  const double middle = median({values.begin(), values.end()});
  std::vector<double> distances;
  for (const double value : values) distances.push_back(std::abs(value - middle));
  return median(std::move(distances));
}

double variation(std::span<const double> values) {
  if (values.size() < 2) return 0;
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return mean == 0 ? 0 : std::sqrt(squares / (count - 1)) / std::abs(mean);
}

double drift(std::span<const double> values) {
  std::vector<double> slopes;
  for (std::size_t i = 0; i < values.size(); ++i)
    for (std::size_t j = i + 1; j < values.size(); ++j)
      slopes.push_back((values[j] - values[i]) / static_cast<double>(j - i));
  const double middle = median({values.begin(), values.end()});
  if (slopes.empty() || middle == 0) return 0;
  return median(std::move(slopes)) * static_cast<double>(values.size() - 1) / middle;
}

Interval bootstrap_median(std::span<const double> values, std::uint64_t seed) {
  if (values.empty()) return {};
  std::mt19937_64 random(seed);
  std::vector<double> medians, resample(values.size());
  for (int round = 0; round < 2000; ++round) {
    for (double& value : resample) value = values[random() % values.size()];
    medians.push_back(median(resample));
  }
  return {.low = quantile(medians, 0.025),
          .middle = median({values.begin(), values.end()}),
          .high = quantile(medians, 0.975)};
}

Noise assess(std::span<const double> values) {
  Noise noise{.trials = values.size(), .middle = median({values.begin(), values.end()})};
  noise.variation = variation(values);
  noise.deviation = noise.middle == 0 ? 0 : deviation(values) / noise.middle;
  noise.drift = drift(values);
  return noise;
}

std::optional<std::size_t> find_cliff(std::span<const double> rates) {
  constexpr std::size_t least = 4;  // of each side, or one slow stretch would pass for a cliff
  // The two levels that fit best, by absolute distance.
  std::optional<std::size_t> found;
  double closest = 0;
  for (std::size_t at = least; at + least <= rates.size(); ++at) {
    const auto before = rates.first(at), after = rates.subspan(at);
    const double high = median({before.begin(), before.end()});
    const double low = median({after.begin(), after.end()});
    double distance = 0;
    for (const double rate : before) distance += std::abs(rate - high);
    for (const double rate : after) distance += std::abs(rate - low);
    if (high <= 0 || low / high >= 0.7 || (found && distance >= closest)) continue;
    found = at;
    closest = distance;
  }
  return found;
}

}  // namespace fathom::aio_bench
