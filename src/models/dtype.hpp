// SPDX-License-Identifier: Apache-2.0
//
// Dtype: element types of safetensors files, with their names there and widths in bits.
//
//   to_string(Dtype::bf16) -> "BF16";  bits(Dtype::bf16) -> 16;  parse_dtype("F32") -> Dtype::f32
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fathom::models {

enum class Dtype : std::uint8_t {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64
};

const char* to_string(Dtype dtype);
std::uint64_t bits(Dtype dtype);
std::optional<Dtype> parse_dtype(std::string_view name);

}  // namespace fathom::models
