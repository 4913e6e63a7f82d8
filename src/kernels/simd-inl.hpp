// SPDX-License-Identifier: Apache-2.0
//
// Vector pieces that several kernels share. Internal, included once a SIMD target.
//
// 16-bit arrays are read and written as half vectors beside full vectors of 32-bit lanes.
// Everything here is integer arithmetic or single IEEE operations; nothing may be fused (no
// MulAdd).
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(FATHOM_KERNELS_SIMD_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_KERNELS_SIMD_INL_HPP
#undef FATHOM_KERNELS_SIMD_INL_HPP
#else
#define FATHOM_KERNELS_SIMD_INL_HPP
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using U32 = hn::RebindToUnsigned<F32>;
using I32 = hn::RebindToSigned<F32>;
using U16 = hn::Rebind<std::uint16_t, F32>;  // as many lanes as F32
using VecF = hn::Vec<F32>;
using VecU = hn::Vec<U32>;

inline constexpr std::size_t lanes_max = hn::MaxLanes(F32());

// The last elements of an array in a full vector's space: a tail runs through the same vector code
// as the rest, so it cannot differ from it.
template <typename T>
struct Tail {
  Tail(const T* from, std::size_t count) { std::memcpy(data, from, count * sizeof(T)); }
  void put(T* to, std::size_t count) const { std::memcpy(to, data, count * sizeof(T)); }
  T data[lanes_max] = {};
};

HWY_INLINE VecU load_u16(const std::uint16_t* from) {
  return hn::PromoteTo(U32(), hn::LoadU(U16(), from));
}

HWY_INLINE void store_u16(VecU bits, std::uint16_t* to) {
  hn::StoreU(hn::TruncateTo(U16(), bits), U16(), to);
}

HWY_INLINE VecF from_bits(VecU bits) { return hn::BitCast(F32(), bits); }
HWY_INLINE VecU to_bits(VecF value) { return hn::BitCast(U32(), value); }
HWY_INLINE VecU set_bits(std::uint32_t value) { return hn::Set(U32(), value); }

HWY_INLINE VecF load_bf16(const std::uint16_t* from) {
  return from_bits(hn::ShiftLeft<16>(load_u16(from)));
}

// Hardware conversions differ between targets in NaN payloads and subnormals, so that all of these
// are done on the bit patterns; the loops are bound by memory anyway.

// All of the operands here are below 2^31: comparing them as signed numbers is what SIMD has.
HWY_INLINE hn::Mask<U32> greater(VecU a, VecU b) {
  const I32 d;
  return hn::RebindMask(U32(), hn::Gt(hn::BitCast(d, a), hn::BitCast(d, b)));
}

HWY_INLINE VecU bf16_of(VecF value) {
  const VecU x = to_bits(value);
  const VecU high = hn::ShiftRight<16>(x);
  const VecU even = hn::Add(set_bits(0x7fff), hn::And(high, set_bits(1)));
  const VecU rounded = hn::ShiftRight<16>(hn::Add(x, even));
  const auto nan = greater(hn::And(x, set_bits(0x7fffffff)), set_bits(0x7f800000));
  return hn::IfThenElse(nan, hn::Or(high, set_bits(0x40)), rounded);
}

HWY_INLINE VecU fp16_of(VecF value) {
  const VecU x = to_bits(value);
  const VecU magnitude = hn::And(x, set_bits(0x7fffffff));
  const VecU sign = hn::ShiftRight<16>(hn::Sub(x, magnitude));
  // Normal results: move the exponent's bias from 127 to 15, round to even at bit 13. A carry out
  // of the largest finite number is infinity, as it should be.
  const VecU odd = hn::And(hn::ShiftRight<13>(magnitude), set_bits(1));
  const VecU rebias = set_bits(0xc8000fff);  // ((15 - 127) << 23) + 0xfff, mod 2^32
  const VecU normal = hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, rebias), odd));
  // Subnormal results: 0.5 has a unit in the last place of 2^-24, fp16's smallest step, so that the
  // addition itself rounds to even.
  const VecU half = set_bits(0x3f000000);
  const VecU small = hn::Sub(to_bits(hn::Add(from_bits(magnitude), from_bits(half))), half);
  // Infinity, overflow (2^16 and more) and NaN, which keeps its upper payload and becomes quiet.
  const VecU payload = hn::And(hn::ShiftRight<13>(magnitude), set_bits(0x3ff));
  const VecU quiet = hn::Or(payload, set_bits(0x7e00));
  const auto nan = greater(magnitude, set_bits(0x7f800000));
  const VecU large = hn::IfThenElse(nan, quiet, set_bits(0x7c00));

  VecU result = hn::IfThenElse(greater(set_bits(0x38800000), magnitude), small, normal);
  result = hn::IfThenElse(greater(magnitude, set_bits(0x477fffff)), large, result);
  return hn::Or(result, sign);
}

HWY_INLINE VecF fp32_of_fp16(VecU h) {
  const VecU sign = hn::ShiftLeft<16>(hn::And(h, set_bits(0x8000)));
  const VecU shifted = hn::ShiftLeft<13>(hn::And(h, set_bits(0x7fff)));
  const VecU normal = hn::Add(shifted, set_bits(0x38000000));   // bias 15 to 127
  const VecU special = hn::Add(shifted, set_bits(0x70000000));  // infinity, NaN: exponent 255
  // Subnormals and zero: put the fraction under 2^-14 and subtract it again. Exact.
  const VecU smallest = set_bits(0x38800000);
  const VecU subnormal =
      to_bits(hn::Sub(from_bits(hn::Add(shifted, smallest)), from_bits(smallest)));
  VecU result = hn::IfThenElse(greater(shifted, set_bits(0x0f7fffff)), special, normal);
  result = hn::IfThenElse(greater(set_bits(0x00800000), shifted), subnormal, result);
  return from_bits(hn::Or(result, sign));
}

// W = (x + 0x8000) >> 16 and lo = x & 0xffff, and back; see adamw.hpp.
HWY_INLINE void split(VecF value, std::uint16_t* weight, std::uint16_t* low) {
  const VecU x = to_bits(value);
  store_u16(hn::ShiftRight<16>(hn::Add(x, set_bits(0x8000))), weight);
  store_u16(hn::And(x, set_bits(0xffff)), low);
}

HWY_INLINE VecF join(const std::uint16_t* weight, const std::uint16_t* low) {
  const VecU lo = load_u16(low);
  const VecU hi = hn::Sub(load_u16(weight), hn::ShiftRight<15>(lo));
  return from_bits(hn::Or(hn::ShiftLeft<16>(hi), lo));
}

// The payload of a computed NaN depends on the machine and on the order of operands: it is
// replaced.
HWY_INLINE VecF canonical_nan(VecF value) {
  return hn::IfThenElse(hn::IsNaN(value), from_bits(set_bits(0x7fc00000)), value);
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::kernels
HWY_AFTER_NAMESPACE();

#endif
