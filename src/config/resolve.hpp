// SPDX-License-Identifier: Apache-2.0
//
// Resolving: `auto` and keys that are left out take their values from the Sources; a flag that
// contradicts the file is a problem, all of them in one line.
//
//   resolve(values, sources, report);
#pragma once

#include <cstdint>
#include <optional>

#include "config/report.hpp"
#include "config/sources.hpp"
#include "config/values.hpp"

namespace fathom::config {

// After it no value is automatic, unless a problem was reported. The batch triple is complete.
void resolve(Values& values, const Sources& sources, Report& report);

// Warm-up steps that the flags ask for: --warmup-steps if above 0, else --warmup-ratio of `total`,
// rounded up; nothing if neither is there.
std::optional<std::uint64_t> warmup_steps(const CommandLine& flags,
                                          const std::optional<std::uint64_t>& total);

// Optimizer steps in all: --max-steps, else what data and epochs give.
std::optional<std::uint64_t> total_steps(const Sources& sources);

}  // namespace fathom::config
