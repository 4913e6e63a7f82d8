// SPDX-License-Identifier: Apache-2.0
#include "base/random.hpp"

#include <cmath>
#include <numbers>

namespace fathom {

CounterRandom::CounterRandom(std::uint64_t seed, std::string_view stream)
    : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
      stream_(name_hash(stream)) {}

std::array<std::uint32_t, 4> CounterRandom::block(std::uint64_t index) const {
  std::array<std::uint32_t, 4> x = {
      static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
      static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)};
  std::uint32_t k0 = key_[0], k1 = key_[1];
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * x[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<std::uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return x;
}

std::uint32_t CounterRandom::bits(std::uint64_t index) const { return block(index / 4)[index % 4]; }

double CounterRandom::uniform(std::uint64_t index) const {
  const auto words = block(index / 2);
  const std::size_t at = index % 2 * 2;
  const std::uint64_t wide = std::uint64_t{words[at]} << 32 | words[at + 1];
  return static_cast<double>(wide >> 11) * 0x1p-53;
}

float CounterRandom::normal(std::uint64_t index) const {
  const auto words = block(index / 2);
  // (0, 1] for the radius so that the logarithm is finite; [0, 1) for the angle.
  const std::uint64_t a = std::uint64_t{words[0]} << 32 | words[1];
  const std::uint64_t b = std::uint64_t{words[2]} << 32 | words[3];
  const double u = (static_cast<double>(a >> 11) + 1) * 0x1p-53;
  const double angle = 2 * std::numbers::pi * (static_cast<double>(b >> 11) * 0x1p-53);
  const double radius = std::sqrt(-2 * std::log(u));
  return static_cast<float>(radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle)));
}

}  // namespace fathom
