// SPDX-License-Identifier: Apache-2.0
//
// Reduction of the ranks' parts on one of them, in rank order.
//
// Purpose      Fixes the bits of reductions over threads and MPI: parts are added in the order
//              given, in fp32; half types are widened before and rounded once after, to nearest
//              even. A NaN sum is 7FC00000; a maximum is NaN when any part is.
// Ownership    The caller's buffers; `scratch` holds 2 × count floats.
// Threads      Safe on disjoint buffers.
// Units        Elements.
//
//   reduce(Element::bf16, Reduction::sum, parts, out, count, scratch);
#pragma once

#include <cstddef>
#include <span>

#include "comm/element.hpp"

namespace fathom::comm {

// `out` may be one of the parts.
void reduce(Element element, Reduction reduction, std::span<const void* const> parts, void* out,
            std::size_t count, float* scratch);

}  // namespace fathom::comm
