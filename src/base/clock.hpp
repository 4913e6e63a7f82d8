// SPDX-License-Identifier: Apache-2.0
//
// Clock: seconds on the monotonic clock, the one time base of metrics, trace and deadlines.
#pragma once

#include <chrono>

namespace fathom {

inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace fathom
