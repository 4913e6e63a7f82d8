// SPDX-License-Identifier: Apache-2.0
#include "kernels/targets.hpp"

#include "kernels/simd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/targets.cpp"
// This file is compiled once for each SIMD target; what follows HWY_ONCE, once only.
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels {
namespace HWY_NAMESPACE {

const char* name_of_this() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace fathom::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fathom::kernels {

HWY_EXPORT(name_of_this);

std::vector<SimdTarget> simd_targets() {
  std::vector<SimdTarget> found;
  // Highway numbers better targets lower.
  for (const std::int64_t bit : hwy::SupportedAndGeneratedTargets())
    found.push_back({hwy::TargetName(bit), bit});
  return found;
}

std::string active_simd_target() { return HWY_DYNAMIC_DISPATCH(name_of_this)(); }

void use_simd_target(const SimdTarget& target) { hwy::GetChosenTarget().Update(target.bit); }

void use_best_simd_target() { hwy::GetChosenTarget().Update(hwy::SupportedTargets()); }

}  // namespace fathom::kernels
#endif  // HWY_ONCE
