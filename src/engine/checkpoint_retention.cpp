// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint_retention.hpp"

#include <charconv>
#include <ranges>

#include <fmt/format.h>

namespace fathom::engine {

std::string step_directory_name(std::int64_t step) {
  return fmt::format("{}{:08}", step_prefix, step);
}

std::optional<std::int64_t> step_of_directory(std::string_view name) {
  if (!name.starts_with(step_prefix)) return std::nullopt;
  const std::string_view digits = name.substr(step_prefix.size());
  std::int64_t step = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (status != std::errc() || end != digits.data() + digits.size() || step < 0)
    return std::nullopt;
  return step;
}

std::vector<std::int64_t> expendable_steps(const std::set<std::int64_t>& present,
                                           const std::set<std::int64_t>& own,
                                           std::uint64_t keep_last,
                                           std::optional<std::int64_t> best) {
  std::vector<std::int64_t> expendable;
  std::uint64_t kept = 0;
  for (const std::int64_t step : present | std::views::reverse) {
    if (own.contains(step) && (kept++ < keep_last || step == best)) continue;
    expendable.push_back(step);
  }
  return expendable;
}

}  // namespace fathom::engine
