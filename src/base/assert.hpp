// SPDX-License-Identifier: Apache-2.0
//
// FATHOM_ASSERT: conditions that may not happen. Active in every build: a broken invariant in an
// engine that moves other people's weights must stop it, not corrupt them. Never guards what the
// kernel, a file or a user may do; those are Errors.
#pragma once

namespace fathom {

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line,
                                   const char* message);

}  // namespace fathom

#define FATHOM_ASSERT(condition, message) \
  (static_cast<bool>(condition)           \
       ? void(0)                          \
       : ::fathom::assertion_failed(#condition, __FILE__, __LINE__, message))
