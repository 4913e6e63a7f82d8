// SPDX-License-Identifier: Apache-2.0
#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace fathom {

void assertion_failed(const char* expression, const char* file, int line, const char* message) {
  std::fprintf(stderr,
               "fathom: broken invariant at %s:%d: %s (%s). This is a bug; please report it.\n",
               file, line, message, expression);
  std::abort();
}

}  // namespace fathom
