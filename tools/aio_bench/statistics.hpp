// SPDX-License-Identifier: Apache-2.0
//
// Statistics: what a handful of noisy trials says. Pure.
//
// Purpose      Disks are noisy and trials are few, so everything here is a median or is resampled
//              from the data; nothing assumes a normal distribution.
// Units        Those of the values; shares are 0 to 1.
//
//   const Interval ratio = bootstrap_median(ratios, seed);  // 95 %: ratio.low … ratio.high
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace fathom::aio_bench {

double median(std::vector<double> values);                  // 0 of nothing
double quantile(std::vector<double> values, double share);  // interpolated; 0 of nothing
double deviation(std::span<const double> values);           // median distance from the median (MAD)
double variation(std::span<const double> values);  // standard deviation / mean (CV); 0 below two

// Change from the first value to the last by the median of all pairwise slopes, as a share of the
// median: -0.1 means that the last is a tenth below the first.
double drift(std::span<const double> values);

struct Interval {
  double low = 0, middle = 0, high = 0;
  double half_width() const { return (high - low) / 2; }
};

// The median and its 95 % interval from 2000 resamples: the same seed gives the same interval.
Interval bootstrap_median(std::span<const double> values, std::uint64_t seed);

// What the A/A trials of one configuration say about the machine.
struct Noise {
  std::size_t trials = 0;
  double middle = 0, variation = 0, deviation = 0, drift = 0;  // the last three as shares
  bool noisy() const { return variation > 0.10; }
};
Noise assess(std::span<const double> values);

// Where a sustained write falls off: the first index from which on the median is under 70 % of the
// median before; nothing when there is no such place.
std::optional<std::size_t> find_cliff(std::span<const double> rates);

}  // namespace fathom::aio_bench
