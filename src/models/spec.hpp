// SPDX-License-Identifier: Apache-2.0
//
// ModelSpec: what a model consists of, without its values: units, parameters, costs. Pure, no
// LibTorch.
//
// Purpose      Everything that planning, loading and export need to know about a model. Units are
// in
//              the order of the forward pass: embedding, layers, head. Parameter names are the
//              Hugging Face names.
// Ownership    A value.
// Units        Elements, FLOPs per token, bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/llama_config.hpp"

namespace fathom::models {

enum class Init : std::uint8_t { normal, ones, zeros };

struct ParameterSpec {
  std::string name;  // as in the safetensors file
  std::vector<std::int64_t> shape;
  Init init = Init::normal;
  double init_std = 0.02;  // of Init::normal
  std::uint64_t elements() const;
  bool decays() const { return shape.size() > 1; }  // weight decay: not on biases and norms
};

enum class UnitKind : std::uint8_t { embedding, layer, head };

struct UnitSpec {
  std::string name;  // "embed_tokens", "layers.0", …, "head"
  UnitKind kind = UnitKind::layer;
  std::vector<ParameterSpec> parameters;
  std::uint64_t matmul_elements =
      0;  // weights that take part in matrix products: 2 FLOPs per token each
  std::uint64_t elements() const;  // of the parameters, without alignment gaps
};

struct ModelSpec {
  std::string family;  // model_type: "llama", "mistral", "qwen2", "qwen3"
  std::uint64_t vocabulary = 0, hidden = 0, intermediate = 0, layers = 0;
  std::uint64_t heads = 0, kv_heads = 0, head_dim = 0, max_positions = 0;
  // The head multiplies by the embedding's weight: the head unit does not list it, and uses the
  // first parameter of unit 0.
  bool tied_head = false;
  std::string dtype = "float32";  // of the file: float32, bfloat16, float16
  std::optional<std::int64_t> bos_token;
  std::vector<std::int64_t> eos_tokens;
  LlamaConfig llama;  // of the families llama, mistral, qwen2, qwen3
  std::vector<UnitSpec> units;

  std::uint64_t parameters() const;  // shared tensors once
};

// Upper bounds of working memory in bytes, beyond parameters, gradients and block inputs, for one
// micro-batch of `batch` × `length` tokens in a compute type of `element_bytes`.
struct ActivationBytes {
  std::uint64_t forward = 0;  // one forward of the unit without gradient
  std::uint64_t backward =
      0;  // recomputation with gradient, backward, and the gradients it returns
};
//
// `threads`: of LibTorch's pool on the CPU, each with its scratch of attention scores.
// The head's figures are for the chunked loss of loss.hpp with loss_chunk_rows rows at a time.
ActivationBytes activation_bytes(const ModelSpec& spec, std::uint32_t unit, std::uint64_t batch,
                                 std::uint64_t length, std::uint64_t element_bytes,
                                 std::uint64_t threads = 1);

// Rows of hidden states whose logits are held at once by the loss: as many as fit 128 MiB of fp32
// logits, at least one and at most `rows`.
std::uint64_t loss_chunk_rows(const ModelSpec& spec, std::uint64_t rows);

}  // namespace fathom::models
