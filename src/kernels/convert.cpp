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
