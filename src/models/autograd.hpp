// SPDX-License-Identifier: Apache-2.0
//
// Gradients and gradient mode without LibTorch's autograd headers, which cost nine seconds a file.
//
// Purpose      gradients() runs the backward pass from outputs to inputs; NoGrad and WithGrad
// switch
//              recording for a scope; leaf() makes a value to differentiate by.
// Threads      Gradient mode is per thread; gradients may be called from any.
// Errors       Exceptions of LibTorch become Errors: no_space when memory ran out, else internal.
//
//   const at::Tensor x = leaf(value);
//   const WithGrad recording;
//   FATHOM_ASSIGN(TensorList grads, gradients({f(x)}, {x}, {seed}));
#pragma once

#include <exception>
#include <utility>

#include <ATen/core/Tensor.h>

#include "base/result.hpp"
#include "models/block.hpp"

namespace fathom::models {

// One gradient per input, in order. Every input must take part in some output.
Result<TensorList> gradients(const TensorList& outputs, const TensorList& inputs,
                             const TensorList& grad_outputs);

// The same storage, cut off from any graph, requiring a gradient.
at::Tensor leaf(const at::Tensor& value);

class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

class WithGrad {
 public:
  WithGrad();
  ~WithGrad();
  WithGrad(const WithGrad&) = delete;
  WithGrad& operator=(const WithGrad&) = delete;

 private:
  bool before_;
};

// The Error for an exception of LibTorch.
Error torch_error(const char* tried, const std::exception& exception);

// Calls `body`, which returns a Result; an exception of LibTorch becomes its Error.
template <class F>
auto guarded(const char* tried, F&& body) -> decltype(body()) {
  try {
    return std::forward<F>(body)();
  } catch (const std::exception& exception) {
    return fail(torch_error(tried, exception));
  }
}

}  // namespace fathom::models
