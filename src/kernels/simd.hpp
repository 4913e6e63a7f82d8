// SPDX-License-Identifier: Apache-2.0
//
// The SIMD targets that the kernels are compiled for. Internal: included first by every file that
// is compiled once a target, before <hwy/foreach_target.h>, so that all agree.
//
// All attainable targets are compiled, the scalar one too: it is the reference that the tests hold
// the others against, and each costs a few KB. Targets with vectors of unknown size are left out
// (the norm keeps an array of vectors), 32-bit Arm because its division and square root are not
// IEEE's.
#pragma once

#define HWY_COMPILE_ALL_ATTAINABLE
#if defined(__arm__) && !defined(__aarch64__)
#define HWY_DISABLED_TARGETS HWY_NEON
#elif defined(__aarch64__)
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#elif defined(__riscv)
#define HWY_DISABLED_TARGETS HWY_RVV
#endif
