// SPDX-License-Identifier: Apache-2.0
//
// Selection: which arms to try and which of the measured ones to recommend. Pure.
//
// Purpose      A single run's maximum is luck. The score is the predicted I/O time of a training
// step
//              at the median rates, and the recommendation is the cheapest arm within 3 % of the
//              best score: less memory in flight for the same speed.
// Units        Bytes, bytes per second, seconds.
//
//   const std::vector<Arm> arms = make_grid(engines, limit);
//   const auto choice = choose(measured);  // index into measured
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "aio/queue.hpp"

namespace fathom::aio_bench {

struct Arm {
  aio::Engine engine = aio::Engine::posix;
  std::uint64_t block = 0;
  unsigned depth = 0;

  std::uint64_t in_flight() const { return block * depth; }
  friend bool operator==(const Arm&, const Arm&) = default;
};

struct Measured {
  Arm arm;
  std::vector<double> read, write;  // bytes per second of each trial
};

// Bytes read and written per parameter by a step with everything on NVMe.
inline constexpr double step_read_bytes = 14, step_write_bytes = 12;
inline constexpr double tolerance = 0.03;
inline constexpr std::uint64_t most_in_flight = std::uint64_t{64} << 20;

// Blocks of 256 KiB to 16 MiB and depths of 1 to 128, at most 64 MiB in flight; `limit` says how
// many operations of a block size the device takes, and arms that become equal by it appear once.
std::vector<Arm> make_grid(std::span<const aio::Engine> engines,
                           const std::function<unsigned(std::uint64_t block, unsigned)>& limit);

double median(std::vector<double> values);  // 0 of nothing

// Parameters per second: 1 / (read bytes / read rate + write bytes / write rate). Without write
// trials reads alone count; 0 without reads.
double score(const Measured& measured);

// The cheapest arm whose score is within `tolerance` of the best: fewest bytes in flight, then the
// engine that comes first in the enumeration, then the smallest depth. Nothing when no arm scored.
std::optional<std::size_t> choose(std::span<const Measured> arms);
std::optional<std::size_t> best(std::span<const Measured> arms);

}  // namespace fathom::aio_bench
