// SPDX-License-Identifier: Apache-2.0
#include "kernels/convert.hpp"

#include "kernels/simd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert.cpp"
// This file is compiled once for each SIMD target; what follows HWY_ONCE, once only.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels {
namespace HWY_NAMESPACE {

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

// Runs `lanes` over an array pair, the tail through buffers. In and Out are element types.
template <typename Out, typename In, typename Lanes>
HWY_INLINE void map(Out* out, const In* in, std::size_t count, const Lanes& lanes) {
  const std::size_t width = hn::Lanes(F32());
  std::size_t i = 0;
  for (; i + width <= count; i += width) lanes(out + i, in + i);
  if (const std::size_t rest = count - i; rest != 0) {
    Tail<Out> to(out + i, rest);  // read too: accumulation updates in place
    const Tail<In> from(in + i, rest);
    lanes(to.data, from.data);
    to.put(out + i, rest);
  }
}

struct Bf16ToFp32 {
  HWY_INLINE void operator()(float* out, const std::uint16_t* in) const {
    hn::StoreU(load_bf16(in), F32(), out);
  }
};
struct Fp32ToBf16 {
  HWY_INLINE void operator()(std::uint16_t* out, const float* in) const {
    store_u16(bf16_of(hn::LoadU(F32(), in)), out);
  }
};
struct Fp16ToFp32 {
  HWY_INLINE void operator()(float* out, const std::uint16_t* in) const {
    hn::StoreU(fp32_of_fp16(load_u16(in)), F32(), out);
  }
};
struct Fp32ToFp16 {
  HWY_INLINE void operator()(std::uint16_t* out, const float* in) const {
    store_u16(fp16_of(hn::LoadU(F32(), in)), out);
  }
};
struct AddBf16 {
  HWY_INLINE void operator()(float* sum, const std::uint16_t* grad) const {
    const VecF total = hn::Add(hn::LoadU(F32(), sum), load_bf16(grad));
    hn::StoreU(canonical_nan(total), F32(), sum);
  }
};
struct AddFp32 {
  HWY_INLINE void operator()(float* sum, const float* grad) const {
    const VecF total = hn::Add(hn::LoadU(F32(), sum), hn::LoadU(F32(), grad));
    hn::StoreU(canonical_nan(total), F32(), sum);
  }
};

void bf16_to_fp32_range(float* out, const std::uint16_t* in, std::size_t count) {
  map(out, in, count, Bf16ToFp32());
}
void fp32_to_bf16_range(std::uint16_t* out, const float* in, std::size_t count) {
  map(out, in, count, Fp32ToBf16());
}
void fp16_to_fp32_range(float* out, const std::uint16_t* in, std::size_t count) {
  map(out, in, count, Fp16ToFp32());
}
void fp32_to_fp16_range(std::uint16_t* out, const float* in, std::size_t count) {
  map(out, in, count, Fp32ToFp16());
}
void accumulate_bf16_range(float* sum, const std::uint16_t* grad, std::size_t count) {
  map(sum, grad, count, AddBf16());
}
void accumulate_fp32_range(float* sum, const float* grad, std::size_t count) {
  map(sum, grad, count, AddFp32());
}

void split_master_range(std::uint16_t* weight, std::uint16_t* low, const float* x,
                        std::size_t count) {
  const std::size_t width = hn::Lanes(F32());
  std::size_t i = 0;
  for (; i + width <= count; i += width) split(hn::LoadU(F32(), x + i), weight + i, low + i);
  if (const std::size_t rest = count - i; rest != 0) {
    const Tail from(x + i, rest);
    Tail w(weight + i, rest), l(low + i, rest);
    split(hn::LoadU(F32(), from.data), w.data, l.data);
    w.put(weight + i, rest);
    l.put(low + i, rest);
  }
}

void join_master_range(float* x, const std::uint16_t* weight, const std::uint16_t* low,
                       std::size_t count) {
  const std::size_t width = hn::Lanes(F32());
  std::size_t i = 0;
  for (; i + width <= count; i += width) hn::StoreU(join(weight + i, low + i), F32(), x + i);
  if (const std::size_t rest = count - i; rest != 0) {
    const Tail w(weight + i, rest), l(low + i, rest);
    Tail to(x + i, rest);
    hn::StoreU(join(w.data, l.data), F32(), to.data);
    to.put(x + i, rest);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/ranges.hpp"

namespace fathom::kernels {

HWY_EXPORT(bf16_to_fp32_range);
HWY_EXPORT(fp32_to_bf16_range);
HWY_EXPORT(fp16_to_fp32_range);
HWY_EXPORT(fp32_to_fp16_range);
HWY_EXPORT(split_master_range);
HWY_EXPORT(join_master_range);
HWY_EXPORT(accumulate_bf16_range);
HWY_EXPORT(accumulate_fp32_range);

void bf16_to_fp32(ThreadPool* pool, float* out, const std::uint16_t* in, std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(bf16_to_fp32_range)(out + begin, in + begin, end - begin);
  });
}

void fp32_to_bf16(ThreadPool* pool, std::uint16_t* out, const float* in, std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(fp32_to_bf16_range)(out + begin, in + begin, end - begin);
  });
}

void fp16_to_fp32(ThreadPool* pool, float* out, const std::uint16_t* in, std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(fp16_to_fp32_range)(out + begin, in + begin, end - begin);
  });
}

void fp32_to_fp16(ThreadPool* pool, std::uint16_t* out, const float* in, std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(fp32_to_fp16_range)(out + begin, in + begin, end - begin);
  });
}

void split_master(ThreadPool* pool, std::uint16_t* weight, std::uint16_t* low, const float* x,
                  std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(split_master_range)(weight + begin, low + begin, x + begin, end - begin);
  });
}

void join_master(ThreadPool* pool, float* x, const std::uint16_t* weight, const std::uint16_t* low,
                 std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(join_master_range)(x + begin, weight + begin, low + begin, end - begin);
  });
}

void accumulate_bf16(ThreadPool* pool, float* sum, const std::uint16_t* grad, std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(accumulate_bf16_range)(sum + begin, grad + begin, end - begin);
  });
}

void accumulate_fp32(ThreadPool* pool, float* sum, const float* grad, std::size_t count) {
  for_ranges(pool, count, [&](std::size_t begin, std::size_t end) {
    HWY_DYNAMIC_DISPATCH(accumulate_fp32_range)(sum + begin, grad + begin, end - begin);
  });
}

}  // namespace fathom::kernels
#endif  // HWY_ONCE
