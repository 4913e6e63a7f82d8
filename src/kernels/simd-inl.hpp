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
