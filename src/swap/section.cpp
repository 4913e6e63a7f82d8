// SPDX-License-Identifier: Apache-2.0
#include "swap/section.hpp"

#include "base/assert.hpp"

namespace fathom::swap {

const char* to_string(Section section) {
  switch (section) {
    case Section::W: return "W";
    case Section::lo: return "lo";
    case Section::m: return "m";
    case Section::v: return "v";
  }
  FATHOM_ASSERT(false, "unknown section");
  return "";
}

}  // namespace fathom::swap
