// SPDX-License-Identifier: Apache-2.0
//
// The loop that runs a rule over a run of elements, whatever the formats. Internal, included once a
// SIMD target.
//
// A rule is a function of one vector: lanes(step, g, x, m, v). A master format says how x is read
// and written, a gradient format how g is read. The last elements run through the same vector code
// in buffers of a full vector.
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(FATHOM_KERNELS_UPDATE_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_KERNELS_UPDATE_INL_HPP
#undef FATHOM_KERNELS_UPDATE_INL_HPP
#else
#define FATHOM_KERNELS_UPDATE_INL_HPP
#endif

#include <hwy/highway.h>

#include "base/assert.hpp"
#include "kernels/simd-inl.hpp"
#include "kernels/update.hpp"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels {
namespace HWY_NAMESPACE {

struct SplitMaster {
  using Weight = std::uint16_t;
  using Low = std::uint16_t;
  static constexpr bool has_low = true;
  static HWY_INLINE VecF load(const Weight* weight, const Low* low) { return join(weight, low); }
  static HWY_INLINE void store(VecF x, Weight* weight, Low* low) { split(x, weight, low); }
};
struct WholeMaster {
  using Weight = float;
  using Low = float;
  static constexpr bool has_low = false;
  static HWY_INLINE VecF load(const Weight* weight, const Low*) { return hn::LoadU(F32(), weight); }
  static HWY_INLINE void store(VecF x, Weight* weight, Low*) { hn::StoreU(x, F32(), weight); }
};
struct HalfMaster {
  using Weight = std::uint16_t;
  using Low = float;
  static constexpr bool has_low = true;
  static HWY_INLINE VecF load(const Weight*, const Low* low) { return hn::LoadU(F32(), low); }
  static HWY_INLINE void store(VecF x, Weight* weight, Low* low) {
    hn::StoreU(x, F32(), low);
    store_u16(fp16_of(x), weight);
  }
};

struct Bf16Gradient {
  using Element = std::uint16_t;
  static HWY_INLINE VecF load(const Element* from) { return load_bf16(from); }
};
struct Fp16Gradient {
  using Element = std::uint16_t;
  static HWY_INLINE VecF load(const Element* from) { return fp32_of_fp16(load_u16(from)); }
};
struct Fp32Gradient {
  using Element = float;
  static HWY_INLINE VecF load(const Element* from) { return hn::LoadU(F32(), from); }
};

// Typed pointers to one place of all arrays; those that a rule or format lacks stay null.
template <class Master, class Gradient, bool has_m, bool has_v>
struct Place {
  typename Master::Weight* weight;
  typename Master::Low* low;
  float* m;
  float* v;
  const typename Gradient::Element* grad;

  HWY_INLINE Place at(std::size_t i) const {
    Place moved = *this;
    moved.weight += i;
    if constexpr (Master::has_low) moved.low += i;
    if constexpr (has_m) moved.m += i;
    if constexpr (has_v) moved.v += i;
    moved.grad += i;
    return moved;
  }

  // Calls body(x, m, v, g) on one vector and stores what it left in x, m and v.
  template <class Body>
  HWY_INLINE void vector(const Body& body) const {
    const F32 d;
    VecF x = Master::load(weight, low);
    VecF first = hn::Zero(d), second = hn::Zero(d);
    if constexpr (has_m) first = hn::LoadU(d, m);
    if constexpr (has_v) second = hn::LoadU(d, v);
    body(x, first, second, Gradient::load(grad));
    Master::store(x, weight, low);
    if constexpr (has_m) hn::StoreU(first, d, m);
    if constexpr (has_v) hn::StoreU(second, d, v);
  }

  // The same for fewer elements than a vector has.
  template <class Body>
  HWY_INLINE void tail(std::size_t rest, const Body& body) const {
    Tail<typename Master::Weight> w(weight, rest);
    Tail<typename Master::Low> l(Master::has_low ? low : nullptr, Master::has_low ? rest : 0);
    Tail<float> first(m, has_m ? rest : 0), second(v, has_v ? rest : 0);
    const Tail<typename Gradient::Element> g(grad, rest);
    Place{w.data, l.data, first.data, second.data, g.data}.vector(body);
    w.put(weight, rest);
    if constexpr (Master::has_low) l.put(low, rest);
    if constexpr (has_m) first.put(m, rest);
    if constexpr (has_v) second.put(v, rest);
  }
};

// Calls `use` with the Place of `arrays` in its formats.
template <bool has_m, bool has_v, class Use>
HWY_INLINE void with_place(const UpdateArrays& arrays, const Use& use) {
  const auto typed = [&]<class Master, class Gradient>(Master, Gradient) HWY_ATTR {
    use(Place<Master, Gradient, has_m, has_v>{
        static_cast<typename Master::Weight*>(arrays.weight),
        static_cast<typename Master::Low*>(arrays.low), arrays.m, arrays.v,
        static_cast<const typename Gradient::Element*>(arrays.grad)});
  };
  const bool wide = arrays.gradient == GradientFormat::fp32;
  switch (arrays.master) {
    case MasterFormat::split:
      FATHOM_ASSERT(arrays.gradient != GradientFormat::fp16, "a split master has no fp16 gradient");
      return wide ? typed(SplitMaster(), Fp32Gradient()) : typed(SplitMaster(), Bf16Gradient());
    case MasterFormat::whole:
      FATHOM_ASSERT(wide, "a whole master has an fp32 gradient");
      return typed(WholeMaster(), Fp32Gradient());
    case MasterFormat::half:
      FATHOM_ASSERT(arrays.gradient != GradientFormat::bf16, "an fp16 weight has no bf16 gradient");
      return wide ? typed(HalfMaster(), Fp32Gradient()) : typed(HalfMaster(), Fp16Gradient());
  }
}

// One step of a rule over `count` elements.
template <class Step>
HWY_INLINE void update_run(const Step& step, const UpdateArrays& arrays, std::size_t count) {
  with_place<uses_m<Step>, uses_v<Step>>(arrays, [&](const auto& place) HWY_ATTR {
    const Step s = step;  // a copy that the stores below cannot alias
    const auto body = [&](VecF& x, VecF& m, VecF& v, VecF g) HWY_ATTR { lanes(s, g, x, m, v); };
    const std::size_t width = hn::Lanes(F32());
    std::size_t i = 0;
    for (; i + width <= count; i += width) place.at(i).vector(body);
    if (const std::size_t rest = count - i; rest != 0) place.at(i).tail(rest, body);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace fathom::kernels
HWY_AFTER_NAMESPACE();

#endif
