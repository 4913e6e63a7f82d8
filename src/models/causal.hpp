// SPDX-License-Identifier: Apache-2.0
//
// The blocks of decoder-only models: embedding, decoder layer, head.
//
// Purpose      Llama, Mistral, Qwen, Mixtral, GPT-2 and OPT by the switches of CausalConfig and the
//              roles of their parameters. Rotary angles are fp32, then cast; softmax accumulates in
//              fp32. The same inputs give the same bits run to run.
// Ownership    Blocks are immutable and hold no tensors.
// Threads      forward is const.
#pragma once

#include "models/block.hpp"

namespace fathom::models {

Model make_causal(const ModelSpec& spec);

}  // namespace fathom::models
