// SPDX-License-Identifier: Apache-2.0
//
// The seam between a plan's buffers and LibTorch: views, block calls, gradients.
//
// Purpose      Binds buffers to tensors without copying, runs blocks with and without gradient, and
// turns
//              LibTorch's exceptions into Errors so that none leaves the engine.
// Ownership    Views borrow their buffer; the plan's order of operations keeps it alive and
// unchanged. Threads      Safe on disjoint tensors.
#pragma once

#include <cstddef>
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "base/thread_pool.hpp"
#include "engine/plan/plan.hpp"
#include "models/block.hpp"

namespace fathom::engine {

c10::ScalarType scalar_type(ComputeType type);

// The unit's parameters as views of its flat run at `base`, in the compute type.
models::TensorList parameter_views(const Plan& plan, std::uint32_t unit, std::byte* base);

// The unit's fp32 gradient sums at `base`, one tensor a parameter.
models::TensorList gradient_views(const Plan& plan, std::uint32_t unit, std::byte* base);

// Stand-ins of the right shapes that take no memory, for blocks whose gradient does not depend on
// their weights.
models::TensorList placeholder_parameters(const Plan& plan, std::uint32_t unit);

// A carried tensor of a micro-batch in the compute type; `base`: the buffer of what its producer
// hands on.
at::Tensor carry_view(const Plan& plan, std::uint32_t carry, std::byte* base);
// The fp32 sum of the gradients of a shared one.
at::Tensor carry_gradient_view(const Plan& plan, std::uint32_t carry, std::byte* base);

void copy_into(const at::Tensor& target, const at::Tensor& source);

// sum = tensor (first) or sum += tensor, in fp32; contiguous fp32 or bf16 tensors.
void add_tensor(ThreadPool* pool, float* sum, const at::Tensor& tensor, bool first);

// Targets that count: not -100.
double count_predictions(const at::Tensor& targets);

// Plain causal, positions 0, 1, ….
models::BatchContext plain_context(const at::Tensor& input_ids);

// Additive mask [b, 1, 1, s] in the compute type that hides an encoder's padding.
at::Tensor source_mask(const at::Tensor& attention_mask, ComputeType type);

// Forward without gradient.
Result<models::TensorList> forward_block(const models::Block& block,
                                         const models::TensorList& parameters,
                                         const models::TensorList& carry,
                                         const models::BatchContext& batch);

// Recomputes the block and returns d(carry…), d(parameters…) for the gradients of its outputs.
Result<models::TensorList> block_gradients(const models::Block& block,
                                           const models::TensorList& parameters,
                                           const models::TensorList& carry,
                                           const models::BatchContext& batch,
                                           const models::TensorList& out_gradients);

}  // namespace fathom::engine
