// SPDX-License-Identifier: Apache-2.0
//
// The parts that blocks are made of: slots, matrices, norms, activations, feed-forward networks.
//
// Purpose      A part finds its parameters in a unit's list by role when it is built and is plain
//              differentiable code when it is called. Norms compute in fp32 and are cast before the
//              multiplication by their weight (RMSNorm).
// Ownership    Parts hold indices, never tensors.
// Threads      Calls are const.
//
// Without gradients, intermediate results are overwritten in place, which changes no bit.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "models/spec.hpp"

namespace fathom::models {

using Parameters = std::span<const at::Tensor>;

// Where a parameter stands in its unit's list; absent ones (biases, norms of heads) have no place.
class Slot {
 public:
  Slot(const UnitSpec& unit, Role role, bool bias = false, std::uint32_t expert = 0);
  bool present() const { return index_.has_value(); }
  const at::Tensor& of(Parameters parameters) const;

 private:
  std::optional<std::size_t> index_;
};

class Linear {
 public:
  // `transposed`: the weight is stored [in, out].
  Linear(const UnitSpec& unit, Role role, bool transposed = false, std::uint32_t expert = 0)
      : weight_(unit, role, false, expert),
        bias_(unit, role, true, expert),
        transposed_(transposed) {}
  bool present() const { return weight_.present(); }
  at::Tensor operator()(Parameters parameters, const at::Tensor& x) const;

 private:
  Slot weight_, bias_;
  bool transposed_;
};

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// RMSNorm, or LayerNorm when `layer_norm`.
class Norm {
 public:
  Norm(const UnitSpec& unit, Role role, bool layer_norm, double eps)
      : weight_(unit, role), bias_(unit, role, true), layer_norm_(layer_norm), eps_(eps) {}
  bool present() const { return weight_.present(); }
  at::Tensor operator()(Parameters parameters, const at::Tensor& x) const;

 private:
  Slot weight_, bias_;
  bool layer_norm_;
  double eps_;
};

// up and down, with a gate when the unit has one.
class FeedForward {
 public:
  FeedForward(const UnitSpec& unit, Activation activation, bool transposed,
              std::uint32_t expert = 0)
      : gate_(unit, Role::gate, transposed, expert),
        up_(unit, Role::up, transposed, expert),
        down_(unit, Role::down, transposed, expert),
        activation_(activation) {}
  at::Tensor operator()(Parameters parameters, const at::Tensor& x) const;

 private:
  Linear gate_, up_, down_;
  Activation activation_;
};

// A router and experts: each token goes through the `per_token` experts of highest probability.
// Tokens are sorted by expert; sums over a token's experts run in the order of their probability.
// The same inputs give the same bits.
class Experts {
 public:
  Experts(const UnitSpec& unit, Activation activation, std::uint64_t per_token);
  at::Tensor operator()(Parameters parameters, const at::Tensor& x) const;  // [b, s, h]

 private:
  Linear router_;
  std::vector<FeedForward> experts_;
  std::int64_t per_token_;
};

}  // namespace fathom::models
