// SPDX-License-Identifier: Apache-2.0
//
// Initial state: the values of step 0, streamed into a Residence chunk by chunk.
//
// Purpose      From a Hugging Face directory's safetensors, or random by seed. No tensor is ever
// whole in
//              memory: a tile of it is read, widened to fp32, split into the chunk's sections.
//              Optimizer states begin at zero.
// Threads      One thread; the residence must not be running a program.
// Errors       All tensors that are missing, unexpected or of another shape or type are named at
//              once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "engine/residence.hpp"
#include "models/safetensors.hpp"

namespace fathom::engine {

// Gives `out.size()` elements of a parameter, from element `first` on, as fp32.
using ParameterSource = std::function<Result<void>(const models::ParameterSpec& parameter,
                                                   std::uint64_t first, std::span<float> out)>;

ParameterSource random_source(std::uint64_t seed);

// Borrows the reader. Fails at once, naming every tensor that does not fit `spec`.
Result<ParameterSource> safetensors_source(const models::SafetensorsReader& reader,
                                           const models::ModelSpec& spec);

// Writes fp32 values into a visited chunk's weight sections from element `at` of it on.
void put_weights(const Residence& residence, const ChunkView& chunk, std::uint64_t at,
                 std::span<const float> values, bool weight_is_fp16, ThreadPool& pool);
// And back: the fp32 master of a visited chunk of a training plan.
void get_master(const Residence& residence, const ChunkView& chunk, std::uint64_t at,
                std::span<float> out, ThreadPool& pool);

// Fills every chunk of the residence. `weight_is_fp16`: 16-bit W holds fp16 instead of bf16
// (inference).
Result<void> fill_residence(Residence& residence, const ParameterSource& source,
                            bool weight_is_fp16, ThreadPool& pool);

}  // namespace fathom::engine
