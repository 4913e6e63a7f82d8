// SPDX-License-Identifier: Apache-2.0
//
// CausalConfig: what the blocks of decoder-only models need beyond sizes. Pure, no LibTorch.
//
// Purpose      Llama, Mistral, Qwen, Mixtral, GPT-2 and OPT are one architecture with switches;
//              these are they. What a parameter's presence says (biases, gates, norms of heads,
//              experts) is in the unit's list of parameters and not repeated here.
// Ownership    A value inside ModelSpec.
// Units        Windows and positions in tokens.
//
//   spec.causal.rope.theta, spec.causal.window(layer)
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace fathom::models {

enum class Activation : std::uint8_t { silu, gelu, gelu_tanh, relu };

// How the frequencies of the rotary embedding are stretched.
enum class RopeKind : std::uint8_t { plain, linear, llama3 };

struct RopeConfig {
  double theta = 10000;
  RopeKind kind = RopeKind::plain;
  double factor = 1;                         // linear and llama3
  double low_frequency_factor = 1;           // llama3
  double high_frequency_factor = 4;          // llama3
  std::uint64_t original_max_positions = 0;  // llama3
};

struct CausalConfig {
  bool rotary = true;  // else unit 0 holds a table of learned positions
  RopeConfig rope;
  std::int64_t position_offset = 0;  // learned positions: row = position + offset
  bool layer_norm = false;           // LayerNorm with bias instead of RMSNorm
  double norm_eps = 1e-6;
  Activation activation = Activation::silu;
  bool transposed = false;                    // the layers' matrices are stored [in, out]
  std::uint64_t experts_per_token = 0;        // of layers with a router
  std::optional<std::int64_t> padding_token;  // its embedding row gets no gradient
  std::vector<std::uint64_t> windows;         // per layer, 0 = full attention; empty: all full

  // A key is visible iff query - window < key <= query; 0 means every earlier key.
  std::uint64_t window(std::uint64_t layer) const { return windows.empty() ? 0 : windows[layer]; }
};

// Inverse frequencies of the rotary embedding, head_dim / 2 of them, in fp32 arithmetic as the
// reference computes them (a double would move angles of late positions).
std::vector<float> rope_frequencies(const RopeConfig& rope, std::uint64_t head_dim);

}  // namespace fathom::models
