// SPDX-License-Identifier: Apache-2.0
//
// The blocks of the Llama family: embedding, decoder layer, head.
//
// Purpose      Llama, Mistral, Qwen2 and Qwen3 by the switches of LlamaConfig. Norms compute in
// fp32
//              and are cast before the multiplication by their weight; rotary angles are fp32, then
//              cast; softmax accumulates in fp32. The same inputs give the same bits run to run.
// Ownership    Blocks are immutable and hold no tensors.
// Threads      forward is const.
//
// Without gradients, intermediate results are overwritten in place, which changes no bit.
#pragma once

#include "models/block.hpp"

namespace fathom::models {

// Errors: unsupported when spec.family is not of this family.
Result<Model> make_llama(const ModelSpec& spec);

}  // namespace fathom::models
