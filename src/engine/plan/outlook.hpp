// SPDX-License-Identifier: Apache-2.0
//
// Outlook: what a plan means over time: seconds per resource, when compute would hide the disk,
// how long a drive lasts. Pure.
//
// Purpose      Everything here follows from the plan's steady program and rates; nothing is
//              measured. "Seconds of a resource" is the sum over its operations as if nothing else
//              ran, so that the largest is what the step can't beat.
// Ownership    Values.
// Units        Bytes, seconds, tokens of one rank.
//
//   const Outlook outlook = look_ahead(plan);
//   outlook.tokens_to_hide_io …; wear(plan, outlook, 600e12, steps) …
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/plan/plan.hpp"

namespace fathom::engine {

struct ResourceUse {
  Resource resource = Resource::cpu;
  std::uint64_t operations = 0, bytes = 0;
  double seconds = 0;
  double compute = 0, update = 0;  // parts of `seconds`; the rest converts and reduces
};

struct Outlook {
  std::vector<ResourceUse> resources;  // those with operations, in the order of Resource
  double tokens_per_second = 0;
  double io_seconds = 0;         // of the disk, both directions sharing it
  double tokens_to_hide_io = 0;  // tokens per step from which on compute takes longer than that
  std::uint64_t written_per_step = 0;
  double written_per_day = 0;  // at the predicted seconds per step
};

// Seconds in which a device moves these bytes, reads and writes sharing it as `duplex` says
// (bytes.md §8: T_nvme).
double nvme_seconds(double read_bytes, double write_bytes, const Rates& rates);

// T*: tokens at which `seconds_per_token` of compute, beside `fixed` seconds of the same resource
// that do not grow with the batch, reach `io` seconds.
double tokens_to_hide(double io, double fixed, double seconds_per_token);

double tokens_per_step(const PlanInput& input);

Outlook look_ahead(const Plan& plan);

// How writing uses drives up that are rated for `tbw` bytes each. With several paths the one that
// takes most of the bytes decides.
struct Wear {
  double tbw = 0;              // bytes
  double busiest_share = 1;    // of the bytes written, on the busiest path
  std::optional<double> days;  // until it is used up; nothing: the plan writes nothing
  double of_run = 0;           // share of the rating that `steps` steps use
};
Wear wear(const Plan& plan, const Outlook& outlook, double tbw, std::uint64_t steps);

}  // namespace fathom::engine
