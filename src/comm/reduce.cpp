// SPDX-License-Identifier: Apache-2.0
#include "comm/reduce.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/convert.hpp"

namespace fathom::comm {
namespace {

void widen(Element element, float* out, const void* in, std::size_t count) {
  const auto* half = static_cast<const std::uint16_t*>(in);
  switch (element) {
    case Element::bf16: return kernels::bf16_to_fp32(nullptr, out, half, count);
    case Element::fp16: return kernels::fp16_to_fp32(nullptr, out, half, count);
    default: std::memcpy(out, in, count * sizeof(float));
  }
}

void narrow(Element element, void* out, const float* in, std::size_t count) {
  auto* half = static_cast<std::uint16_t*>(out);
  switch (element) {
    case Element::bf16: return kernels::fp32_to_bf16(nullptr, half, in, count);
    case Element::fp16: return kernels::fp32_to_fp16(nullptr, half, in, count);
    default: std::memcpy(out, in, count * sizeof(float));
  }
}

void take_larger(float* most, const float* in, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const bool nan = std::isnan(most[i]) || std::isnan(in[i]);
    most[i] = nan ? std::numeric_limits<float>::quiet_NaN() : std::max(most[i], in[i]);
  }
}

void take_larger_bytes(std::span<const void* const> parts, void* out, std::size_t count) {
  auto* most = static_cast<std::uint8_t*>(out);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint8_t value = 0;
    for (const void* part : parts)
      value = std::max(value, static_cast<const std::uint8_t*>(part)[i]);
    most[i] = value;
  }
}

}  // namespace

void reduce(Element element, Reduction reduction, std::span<const void* const> parts, void* out,
            std::size_t count, float* scratch) {
  if (element == Element::bytes) return take_larger_bytes(parts, out, count);
  float* total = scratch;
  float* next = scratch + count;
  widen(element, total, parts[0], count);
  for (const void* part : parts.subspan(1)) {
    if (reduction == Reduction::sum && element == Element::bf16) {
      kernels::accumulate_bf16(nullptr, total, static_cast<const std::uint16_t*>(part), count);
      continue;
    }
    widen(element, next, part, count);
    if (reduction == Reduction::sum)
      kernels::accumulate_fp32(nullptr, total, next, count);
    else
      take_larger(total, next, count);
  }
  narrow(element, out, total, count);
}

}  // namespace fathom::comm
