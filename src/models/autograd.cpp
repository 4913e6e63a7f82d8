// SPDX-License-Identifier: Apache-2.0
#include "models/autograd.hpp"

#include <new>
#include <string>

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/autograd.h>

namespace fathom::models {

Result<TensorList> gradients(const TensorList& outputs, const TensorList& inputs,
                             const TensorList& grad_outputs) {
  return guarded("run the backward pass", [&]() -> Result<TensorList> {
    return torch::autograd::grad(outputs, inputs, grad_outputs);
  });
}

at::Tensor leaf(const at::Tensor& value) {
  at::Tensor out = value.detach();
  out.set_requires_grad(true);
  return out;
}

NoGrad::NoGrad() : before_(at::GradMode::is_enabled()) { at::GradMode::set_enabled(false); }
NoGrad::~NoGrad() { at::GradMode::set_enabled(before_); }

WithGrad::WithGrad() : before_(at::GradMode::is_enabled()) { at::GradMode::set_enabled(true); }
WithGrad::~WithGrad() { at::GradMode::set_enabled(before_); }

Error torch_error(const char* tried, const std::exception& exception) {
  const auto* own = dynamic_cast<const c10::Error*>(&exception);
  std::string why = own != nullptr ? own->what_without_backtrace() : exception.what();
  const bool memory = dynamic_cast<const c10::OutOfMemoryError*>(&exception) != nullptr ||
                      dynamic_cast<const std::bad_alloc*>(&exception) != nullptr;
  if (memory) {
    return Error(Errc::no_space, tried)
        .because(why)
        .remedy("lower the micro-batch, the sequence length or the memory budget of parameters");
  }
  return Error(Errc::internal, tried).because(why);
}

}  // namespace fathom::models
