// SPDX-License-Identifier: Apache-2.0
#include "base/units.hpp"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace fathom {

std::string format_bytes(std::uint64_t bytes) {
  static constexpr std::array names = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < names.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.2f} {}", value, names[unit]);
}

std::string format_rate(double bytes_per_second) {
  if (bytes_per_second < 1e6) return fmt::format("{:.1f} kB/s", bytes_per_second / 1e3);
  if (bytes_per_second < 1e9) return fmt::format("{:.1f} MB/s", bytes_per_second / 1e6);
  return fmt::format("{:.2f} GB/s", bytes_per_second / 1e9);
}

std::string format_count(std::uint64_t count) {
  const double value = static_cast<double>(count);
  if (count < 10'000) return fmt::format("{}", count);
  if (value < 1e6) return fmt::format("{:.1f} k", value / 1e3);
  if (value < 1e9) return fmt::format("{:.1f} M", value / 1e6);
  return fmt::format("{:.2f} B", value / 1e9);
}

std::string format_seconds(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.1f} ms", seconds * 1e3);
  if (seconds < 60) return fmt::format("{:.2f} s", seconds);
  const auto whole = static_cast<std::uint64_t>(std::lround(seconds));
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

Result<std::uint64_t> parse_bytes(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return fail(Error(Errc::bad_config, "read a size")
                    .on(fmt::format("\"{}\"", text))
                    .because(why)
                    .remedy("write bytes or a number with a unit, for example 12GiB"));
  };
  double value = 0;
  const char* end = text.data() + text.size();
  auto [rest, status] = std::from_chars(text.data(), end, value);
  if (status != std::errc() || !std::isfinite(value) || value < 0)
    return bad("it does not begin with a number that is zero or more");
  while (rest != end && *rest == ' ') ++rest;
  std::string unit;
  for (; rest != end; ++rest)
    unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*rest)));
  double scale = 1;
  if (!unit.empty() && unit != "b") {
    static constexpr std::string_view prefixes = "kmgtp";
    const auto power = prefixes.find(unit[0]);
    const std::string_view suffix = std::string_view(unit).substr(1);
    if (power == std::string_view::npos || !(suffix == "b" || suffix == "ib"))
      return bad("the unit is unknown");
    scale = std::pow(suffix == "ib" ? 1024.0 : 1000.0, static_cast<double>(power) + 1);
  }
  if (value * scale >= 9.2e18) return bad("it is too large");
  return static_cast<std::uint64_t>(std::llround(value * scale));
}

}  // namespace fathom
