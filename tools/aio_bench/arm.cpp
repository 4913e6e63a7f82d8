// SPDX-License-Identifier: Apache-2.0
#include "arm.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "base/units.hpp"

namespace fathom::aio_bench {

std::string to_string(const Arm& arm) {
  return fmt::format("{} {} x {}{}{}{}", to_string(arm.engine),
                     arm.block >= MiB ? fmt::format("{} MiB", arm.block / MiB)
                                      : fmt::format("{} KiB", arm.block / KiB),
                     arm.depth, arm.threads > 1 ? fmt::format(" x {} threads", arm.threads) : "",
                     arm.single_submit ? ", single_submit" : "",
                     arm.overlap_events ? "" : ", no overlap_events");
}

Result<Mix> parse_mix(std::string_view text) {
  const auto colon = text.find(':');
  const auto number = [](std::string_view part) -> double {
    double value = -1;
    const auto [end, status] = std::from_chars(part.data(), part.data() + part.size(), value);
    return status == std::errc() && end == part.data() + part.size() ? value : -1;
  };
  const Mix mix{number(text.substr(0, colon)),
                colon == std::string_view::npos ? -1 : number(text.substr(colon + 1))};
  if (mix.read >= 0 && mix.write >= 0 && std::isfinite(mix.read + mix.write) &&
      mix.read + mix.write > 0)
    return mix;
  return fail(Error(Errc::bad_config, "read --mix")
                  .on(text)
                  .because("it is not READ:WRITE, as in 14:12")
                  .remedy("give the bytes read and written per step, or their ratio"));
}

double step_seconds(const Rates& rates, const Mix& mix, double duplex) {
  const double read = rates.read > 0 ? mix.read / rates.read : 0;
  const double write = rates.write > 0 ? mix.write / rates.write : 0;
  return std::max({read, write, (read + write) / (1 + std::clamp(duplex, 0.0, 1.0))});
}

double duplex_factor(const Rates& alone, const Rates& together) {
  if (alone.read <= 0 || alone.write <= 0) return 0;
  return together.read / alone.read + together.write / alone.write - 1;
}

std::vector<Arm> make_grid(const GridLimits& limits) {
  std::vector<Arm> arms;
  for (std::uint64_t block = 128 * KiB; block <= 16 * MiB; block *= 2) {
    if (block > limits.file_bytes) continue;
    for (unsigned threads = 1; threads <= 8; threads *= 2) {
      for (unsigned depth = 1; depth <= 256; depth *= 2) {
        const unsigned wanted = depth * threads;
        const unsigned operations = limits.operations ? limits.operations(block, wanted) : wanted;
        // A device that takes fewer makes the arm equal to a shallower one.
        const Arm arm{.engine = limits.engine,
                      .block = block,
                      .depth = operations < wanted ? operations : depth,
                      .threads = operations < wanted ? 1 : threads};
        if (arm.in_flight() > limits.most_in_flight) continue;
        const bool known = std::ranges::any_of(arms, [&](const Arm& other) {
          return other.block == arm.block && other.operations() == arm.operations();
        });
        if (!known) arms.push_back(arm);
      }
    }
  }
  return arms;
}

Arm default_arm(const GridLimits& limits) {
  Arm arm{.engine = limits.engine};
  if (limits.operations) arm.depth = limits.operations(arm.block, arm.depth);
  return arm;
}

std::vector<Arm> variants(const Arm& arm, const std::vector<aio::Engine>& engines) {
  std::vector<Arm> others;
  for (const aio::Engine engine : engines) {
    if (engine == arm.engine) continue;
    others.push_back(arm);
    others.back().engine = engine;
  }
  if (arm.operations() > 1) {  // one operation is a batch of one: the same thing
    others.push_back(arm);
    others.back().single_submit = !arm.single_submit;
    others.push_back(arm);
    others.back().overlap_events = !arm.overlap_events;
  }
  return others;
}

}  // namespace fathom::aio_bench
