// SPDX-License-Identifier: Apache-2.0
//
// Units of measure: byte counts as people write and read them, and rounding.
//
//   format_bytes(1610612736)  -> "1.50 GiB"      (binary units, as memory and files are sized)
//   format_rate(2.5e9)        -> "2.50 GB/s"     (decimal units, as devices are rated)
//   parse_bytes("12GiB")      -> 12884901888     (B, KB, MB, GB, TB decimal; KiB … TiB binary)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace fathom {

inline constexpr std::uint64_t KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB;

// The alignment of every store offset, length and buffer address, in bytes (io-rules: O_DIRECT on
// any device accepts it).
inline constexpr std::uint64_t io_alignment = 4096;

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr std::uint64_t round_down(std::uint64_t value, std::uint64_t multiple) {
  return value / multiple * multiple;
}
constexpr std::uint64_t ceil_div(std::uint64_t value, std::uint64_t divisor) {
  return (value + divisor - 1) / divisor;
}

std::string format_bytes(std::uint64_t bytes);
std::string format_rate(double bytes_per_second);
std::string format_count(std::uint64_t count);  // 26.8 M
std::string format_seconds(double seconds);     // 12.3 ms, 1.23 s, 2 min 3 s, 1 h 2 min

// Accepts "123", "12GiB", "1.5 GB" (unit case-insensitive). Errors: bad_config with the text.
Result<std::uint64_t> parse_bytes(std::string_view text);

}  // namespace fathom
