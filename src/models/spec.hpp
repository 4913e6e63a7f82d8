// SPDX-License-Identifier: Apache-2.0
//
// ModelSpec: what a model consists of, without its values: units, parameters, costs. Pure, no
// LibTorch.
//
// Purpose      Everything that planning, loading and export need to know about a model. Units are
//              in the order of the forward pass: embedding, layers, head. Parameter names are the
//              Hugging Face names; blocks find theirs by role.
// Carries      What units hand on is a list of tensors, each with one producer and one or more
//              later users, not necessarily the next unit: decoder layers all use the encoder's
//              output. A tensor that passes a unit by costs it nothing.
// Ownership    A value.
// Units        Elements, FLOPs per token, bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/causal_config.hpp"
#include "models/t5_config.hpp"

namespace fathom::models {

enum class Init : std::uint8_t { normal, ones, zeros };

// What a parameter is to its block, whatever its family calls it.
enum class Role : std::uint8_t {
  none,
  table,            // one row per token of the vocabulary
  positions,        // one row per position
  embedding_norm,   //
  attention_norm,   //
  query,            //
  key,              //
  value,            //
  query_key_value,  // the three in one matrix, in this order
  output,           //
  query_norm,       // over the width of a head
  key_norm,         //
  relative_bias,    // one row per bucket of distances, one column per head
  cross_norm,       //
  cross_query,      //
  cross_key,        //
  cross_value,      //
  cross_output,     //
  mlp_norm,         //
  router,           // one row per expert
  gate,             // multiplies `up` after the activation; without it the activation is on `up`
  up,               //
  down,             //
  final_norm,       //
  head              // one row per token of the vocabulary
};

struct ParameterSpec {
  std::string name;  // as in the safetensors file
  std::vector<std::int64_t> shape;
  Init init = Init::normal;
  double init_std = 0.02;  // of Init::normal
  Role role = Role::none;
  bool bias = false;         // of the role's matrix or norm
  std::uint32_t expert = 0;  // of gate, up and down behind a router
  std::uint64_t elements() const;
  bool decays() const { return shape.size() > 1; }  // weight decay: not on biases and norms
};

// Whose length a tensor has: that of the input ids, or, in encoder-decoder models, of the
// decoder's.
enum class Side : std::uint8_t { source, target };

struct CarrySpec {
  // [batch, length of `side`, width], or [rows, width] when `rows` is set.
  Side side = Side::source;
  std::uint64_t rows = 0, width = 0;
  std::uint32_t producer = 0, last_user = 0;  // units
  bool shared = false;                        // several units use it: their gradients add
};

enum class UnitKind : std::uint8_t { embedding, layer, head };

struct UnitSpec {
  std::string name;  // "embed_tokens", "layers.0", …, "head"
  UnitKind kind = UnitKind::layer;
  Side side = Side::source;  // whose tokens its matrix products are over
  std::vector<ParameterSpec> parameters;
  // Weights that take part in matrix products: 2 FLOPs per token each.
  std::uint64_t matmul_elements = 0;
  std::uint64_t source_elements = 0;  // those of a target-side unit over the source's tokens
  // Of a program's own block: elements a token that its forward makes, an upper bound; its working
  // memory is planned from it and the block is held to that. 0: a family's, known by its roles.
  std::uint64_t working_elements = 0;
  std::vector<std::uint32_t> inputs, outputs;  // indices into ModelSpec::carries
  std::uint64_t elements() const;              // of the parameters, without alignment gaps
};

struct ModelSpec {
  std::string family;  // model_type: "llama", "gpt2", "t5", …
  std::uint64_t vocabulary = 0, hidden = 0, intermediate = 0, layers = 0;
  std::uint64_t heads = 0, kv_heads = 0, head_dim = 0, max_positions = 0;
  // The head multiplies by the embedding's weight: the head unit does not list it, and uses the
  // first parameter of unit 0.
  bool tied_head = false;
  bool encoder_decoder = false;
  std::string dtype = "float32";  // of the file: float32, bfloat16, float16
  std::optional<std::int64_t> bos_token, pad_token, decoder_start_token;
  std::vector<std::int64_t> eos_tokens;
  CausalConfig causal;  // of decoder-only families
  T5Config t5;          // of t5
  std::vector<UnitSpec> units;
  std::vector<CarrySpec> carries;
  // Files of the bare model leave this prefix of all names out.
  std::string optional_prefix;
  // Tensors that files of the family may hold besides, without the prefix; * is one part of a name.
  std::vector<std::string> surplus;

  std::uint64_t parameters() const;  // shared tensors once
};

// How long the rows of a micro-batch are. `target` is 0 but in encoder-decoder models.
struct Lengths {
  std::uint64_t source = 0, target = 0;
  std::uint64_t of(Side side) const { return side == Side::source ? source : target; }
};

// Each unit hands one tensor [batch, length, hidden] to the next.
void chain_carries(ModelSpec& spec);

// Weight products of a unit over one row of a micro-batch; 2 FLOPs each, forward.
double unit_products(const UnitSpec& unit, const Lengths& lengths);

// A carried tensor's elements for `batch` rows.
std::uint64_t carry_elements(const CarrySpec& carry, std::uint64_t batch, const Lengths& lengths);

// Upper bounds of working memory in bytes, beyond parameters, gradients and carried tensors, for
// one micro-batch of `batch` rows in a compute type of `element_bytes`.
struct ActivationBytes {
  std::uint64_t forward = 0;  // one forward of the unit without gradient
  std::uint64_t backward =
      0;  // recomputation with gradient, backward, and the gradients it returns
};
//
// `threads`: of LibTorch's pool on the CPU, each with its scratch of attention scores.
// The head's figures are for the chunked loss of loss.hpp with loss_chunk_rows rows at a time.
ActivationBytes activation_bytes(const ModelSpec& spec, std::uint32_t unit, std::uint64_t batch,
                                 const Lengths& lengths, std::uint64_t element_bytes,
                                 std::uint64_t threads = 1);

// Rows of hidden states whose logits are held at once by the loss: as many as fit 128 MiB of fp32
// logits, at least one and at most `rows`.
std::uint64_t loss_chunk_rows(const ModelSpec& spec, std::uint64_t rows);

}  // namespace fathom::models
