// SPDX-License-Identifier: Apache-2.0
//
// The names of step directories, and which of them a run keeps. Pure.
//
//   for (const std::int64_t step : expendable_steps(present, own, /*keep_last=*/3, best)) …
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::engine {

inline constexpr std::string_view step_prefix = "step-";

// The directory of a step in --out, and back; nothing for other names.
std::string step_directory_name(std::int64_t step);
std::optional<std::int64_t> step_of_directory(std::string_view name);

// Which of the steps that are there may go: those that are not `own`, and all own ones but the last
// `keep_last` and the best. Pure.
std::vector<std::int64_t> expendable_steps(const std::set<std::int64_t>& present,
                                           const std::set<std::int64_t>& own,
                                           std::uint64_t keep_last,
                                           std::optional<std::int64_t> best);

}  // namespace fathom::engine
