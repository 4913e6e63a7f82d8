// SPDX-License-Identifier: Apache-2.0
//
// Tensors of the GPU over the plan's device buffers, and what is added to them.
//
// Purpose      The device's side of engine/tensors.hpp: views without copies, gradients summed in
//              fp32 by the project's own kernels, so that sums have the CPU's order and rounding.
// Ownership    Views borrow their buffer; the order of operations keeps it alive and unchanged.
// Threads      One thread; work is enqueued on LibTorch's current stream, or the stream given.
#pragma once

#include <cstddef>
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "base/result.hpp"
#include "engine/plan/plan.hpp"
#include "kernels/cuda/launch.hpp"
#include "models/block.hpp"

namespace fathom::engine {

// The unit's parameters as views of its flat run at `base`, in the compute type.
models::TensorList device_parameters(const Plan& plan, std::uint32_t unit, std::byte* base);

// The unit's fp32 gradient sums at `base`, one tensor a parameter.
models::TensorList device_gradients(const Plan& plan, std::uint32_t unit, std::byte* base);

// Stand-ins of the right shapes that take no memory.
models::TensorList device_placeholders(const Plan& plan, std::uint32_t unit);

// Micro-batch `index` of a buffer of block inputs: [micro_batch, length, hidden].
at::Tensor device_carry(const Plan& plan, std::byte* base, std::size_t index);

// sum = tensor (first) or sum += tensor, in fp32. The gap behind the parameter, up to `gap`
// elements, is zeroed first when `first`.
Result<void> add_on_device(kernels::cuda::Stream stream, float* sum, std::uint64_t gap,
                           const at::Tensor& tensor, bool first);

}  // namespace fathom::engine
