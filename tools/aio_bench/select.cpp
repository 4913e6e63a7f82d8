// SPDX-License-Identifier: Apache-2.0
#include "select.hpp"

#include <algorithm>
#include <tuple>

#include "base/units.hpp"

namespace fathom::aio_bench {

std::vector<Arm> make_grid(std::span<const aio::Engine> engines,
                           const std::function<unsigned(std::uint64_t, unsigned)>& limit) {
  std::vector<Arm> arms;
  for (const aio::Engine engine : engines) {
    for (const std::uint64_t block : {256 * KiB, 1 * MiB, 4 * MiB, 16 * MiB}) {
      for (const unsigned depth : {1U, 4U, 16U, 32U, 128U}) {
        const Arm arm{engine, block, limit(block, depth)};
        if (arm.in_flight() > most_in_flight) continue;
        if (std::ranges::find(arms, arm) == arms.end()) arms.push_back(arm);
      }
    }
  }
  return arms;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const std::size_t middle = values.size() / 2;
  std::ranges::sort(values);
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double score(const Measured& measured) {
  const double read = median(measured.read), write = median(measured.write);
  if (read <= 0) return 0;
  double seconds = step_read_bytes / read;
  if (write > 0) seconds += step_write_bytes / write;
  return 1 / seconds;
}

std::optional<std::size_t> best(std::span<const Measured> arms) {
  std::optional<std::size_t> found;
  // An arm without writes is not comparable with one that has them: it would always win.
  const bool writes = std::ranges::any_of(arms, [](const Measured& m) { return !m.write.empty(); });
  for (std::size_t i = 0; i < arms.size(); ++i) {
    if (score(arms[i]) <= 0 || (writes && arms[i].write.empty())) continue;
    if (!found || score(arms[i]) > score(arms[*found])) found = i;
  }
  return found;
}

std::optional<std::size_t> choose(std::span<const Measured> arms) {
  const auto top = best(arms);
  if (!top) return std::nullopt;
  const bool writes = !arms[*top].write.empty();
  const auto cost = [](const Arm& arm) {
    return std::tuple(arm.in_flight(), static_cast<int>(arm.engine), arm.depth);
  };
  std::size_t chosen = *top;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    if ((writes && arms[i].write.empty()) || score(arms[i]) < score(arms[*top]) * (1 - tolerance))
      continue;
    if (cost(arms[i].arm) < cost(arms[chosen].arm)) chosen = i;
  }
  return chosen;
}

}  // namespace fathom::aio_bench
