// SPDX-License-Identifier: Apache-2.0
//
// The blocks of T5 and T0: embedding, encoder layer, decoder layer, head.
//
// Purpose      Attention without scaling, with a learned bias by relative position that the first
//              layer of each stack owns and the others get through the carry. Softmax in fp32. The
//              same inputs give the same bits run to run.
// Ownership    Blocks are immutable and hold no tensors.
// Threads      forward is const.
#pragma once

#include "models/block.hpp"

namespace fathom::models {

Model make_t5(const ModelSpec& spec);

}  // namespace fathom::models
