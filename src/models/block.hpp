// SPDX-License-Identifier: Apache-2.0
//
// Block: the computation of one unit. Parameters are values; a block owns no tensors.
//
// Purpose      The engine binds views of landed memory to the parameters a unit's spec declares
//              (same order) and calls forward. Gradients come from torch::autograd::grad on the
//              outputs, so a block is plain differentiable code: no hooks, no modules, no state.
// Ownership    Blocks are immutable and shared. Tensors passed in are borrowed for the call; those
//              returned must not alias parameters.
// Threads      forward is const and may run concurrently.
// Shapes       b = rows of the micro-batch, s = new tokens, t = s + cached tokens, h = hidden size.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "base/result.hpp"
#include "models/spec.hpp"

namespace fathom::models {

using TensorList = std::vector<at::Tensor>;

// Keys and values of one layer, [b, kv_heads, capacity, head_dim] in the compute type; the first
// `length` positions are filled. The block appends at `length`; the caller advances it after the
// sweep.
struct LayerCache {
  at::Tensor keys, values;
  std::int64_t length = 0;
  // Of the encoder's output [b, heads, source length, head_dim], written when `length` is 0.
  at::Tensor cross_keys, cross_values;
};

// What all blocks of a micro-batch share.
struct BatchContext {
  at::Tensor input_ids;  // int64 [b, s]
  at::Tensor positions;  // int64 [b, s]; rotary and learned positions
  at::Tensor mask;       // undefined: plain causal. Else additive, compute type, [b, 1, s, t], with
                         // a finite minimum (a fully masked row must not give NaN).
                         // Encoder-decoder: of the source's tokens alone, [b, 1, 1, s]
  at::Tensor decoder_input_ids =
      {};  // encoder-decoder: int64 [b, new tokens]; input_ids may then be
           // undefined when caches hold what the encoder gave
};

class Block {
 public:
  virtual ~Block() = default;
  // `parameters`: in the order of UnitSpec::parameters, compute type. `carry`: UnitSpec::inputs.
  // Returns UnitSpec::outputs; what passes a unit by is in neither. `cache` may be null.
  virtual TensorList forward(std::span<const at::Tensor> parameters, const TensorList& carry,
                             const BatchContext& batch, LayerCache* cache) const = 0;
};

// The last unit. Its parameter list is followed by the tied weight when ModelSpec::tied_head.
class Head {
 public:
  virtual ~Head() = default;
  // hidden [n, h], the unit's first input -> logits [n, vocabulary] in the compute type.
  virtual at::Tensor logits(std::span<const at::Tensor> parameters,
                            const at::Tensor& hidden) const = 0;
};

struct Model {
  ModelSpec spec;
  std::vector<std::unique_ptr<Block>> blocks;  // all units but the head
  std::unique_ptr<Head> head;
};

// The blocks of spec.family.
Result<Model> make_model(const ModelSpec& spec);

}  // namespace fathom::models
