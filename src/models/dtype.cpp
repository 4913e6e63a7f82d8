// SPDX-License-Identifier: Apache-2.0
#include "models/dtype.hpp"

#include <array>
#include <cstddef>

namespace fathom::models {
namespace {

struct Row {
  const char* name;
  std::uint64_t bits;
};

// In the order of the enumeration.
constexpr std::array<Row, 22> rows = {
    {{"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
     {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
     {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
     {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
     {"I64", 64},        {"U64", 64}}};
static_assert(static_cast<std::size_t>(Dtype::u64) + 1 == rows.size());

}  // namespace

const char* to_string(Dtype dtype) { return rows[static_cast<std::size_t>(dtype)].name; }

std::uint64_t bits(Dtype dtype) { return rows[static_cast<std::size_t>(dtype)].bits; }

std::optional<Dtype> parse_dtype(std::string_view name) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (name == rows[i].name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

}  // namespace fathom::models
