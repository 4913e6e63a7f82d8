// SPDX-License-Identifier: Apache-2.0
//
// SimdTarget: which instruction sets the CPU kernels can use here, and which one they do use.
//
// Purpose      For reports ("AVX3") and for tests and benchmarks that run every target in one
//              process. Kernels choose the best target by themselves on their first call.
// Threads      use_simd_target changes the whole process and must not run beside a kernel.
//
//   for (const SimdTarget& target : simd_targets()) {
//     use_simd_target(target);
//     …
//   }
//   use_best_simd_target();
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fathom::kernels {

struct SimdTarget {
  std::string name;
  std::int64_t bit = 0;
};

// Compiled in and supported by this CPU, best first; the last one needs nothing of the CPU.
std::vector<SimdTarget> simd_targets();

// The name of the target that kernels run on now.
std::string active_simd_target();

void use_simd_target(const SimdTarget& target);
void use_best_simd_target();

}  // namespace fathom::kernels
