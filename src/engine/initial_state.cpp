// SPDX-License-Identifier: Apache-2.0
#include "engine/initial_state.hpp"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/convert.hpp"
#include "models/initialise.hpp"
#include "models/weight_map.hpp"

namespace fathom::engine {
namespace {

constexpr std::uint64_t tile_elements = 256 * KiB;

// Fills [begin, end) of the unit's flat run with parameter values, zeros in the gaps.
Result<void> fill_tile(const models::UnitSpec& unit, const FlatUnit& flat,
                       const ParameterSource& source, std::uint64_t begin, std::span<float> out) {
  std::fill(out.begin(), out.end(), 0.0F);
  const std::uint64_t end = begin + out.size();
  for (std::size_t p = 0; p < unit.parameters.size(); ++p) {
    const std::uint64_t first = std::max(begin, flat.offsets[p]);
    const std::uint64_t last = std::min(end, flat.offsets[p] + unit.parameters[p].elements());
    if (first >= last) continue;
    FATHOM_CHECK(source(unit.parameters[p], first - flat.offsets[p],
                        out.subspan(first - begin, last - first)));
  }
  return {};
}

}  // namespace

void put_weights(const Residence& residence, const ChunkView& chunk, std::uint64_t at,
                 std::span<const float> values, bool weight_is_fp16, ThreadPool& pool) {
  const auto& sections = residence.plan().layout.sections();
  if (sections.of(swap::Section::W) == 4) {
    std::memcpy(chunk.weights + at * 4, values.data(), values.size_bytes());
    return;
  }
  auto* weights = reinterpret_cast<std::uint16_t*>(chunk.weights) + at;
  if (sections.of(swap::Section::lo) == 4) {
    std::memcpy(chunk.master() + at, values.data(), values.size_bytes());
    kernels::fp32_to_fp16(&pool, weights, values.data(), values.size());
  } else if (chunk.low != nullptr)
    kernels::split_master(&pool, weights, chunk.low + at, values.data(), values.size());
  else if (weight_is_fp16)
    kernels::fp32_to_fp16(&pool, weights, values.data(), values.size());
  else
    kernels::fp32_to_bf16(&pool, weights, values.data(), values.size());
}

void get_master(const Residence& residence, const ChunkView& chunk, std::uint64_t at,
                std::span<float> out, ThreadPool& pool) {
  const auto& sections = residence.plan().layout.sections();
  if (sections.of(swap::Section::W) == 4) {
    std::memcpy(out.data(), chunk.weights + at * 4, out.size_bytes());
    return;
  }
  if (sections.of(swap::Section::lo) == 4) {
    std::memcpy(out.data(), chunk.master() + at, out.size_bytes());
    return;
  }
  const auto* weights = reinterpret_cast<const std::uint16_t*>(chunk.weights) + at;
  kernels::join_master(&pool, out.data(), weights, chunk.low + at, out.size());
}

ParameterSource random_source(std::uint64_t seed) {
  return [seed](const models::ParameterSpec& parameter, std::uint64_t first,
                std::span<float> out) -> Result<void> {
    models::fill(parameter, seed, first, out);
    return {};
  };
}

Result<ParameterSource> safetensors_source(const models::SafetensorsReader& reader,
                                           const models::ModelSpec& spec) {
  FATHOM_ASSIGN(models::WeightMap weights, models::WeightMap::match(reader, spec));
  return [&reader, weights = std::move(weights)](const models::ParameterSpec& parameter,
                                                 std::uint64_t first,
                                                 std::span<float> out) -> Result<void> {
    const models::TensorInfo* tensor = &weights.of(parameter.name);
    if (tensor->dtype == models::Dtype::f32)
      return reader.read(*tensor, first * 4, std::as_writable_bytes(out));
    std::vector<std::uint16_t> raw(out.size());
    FATHOM_CHECK(reader.read(*tensor, first * 2, std::as_writable_bytes(std::span(raw))));
    if (tensor->dtype == models::Dtype::bf16)
      kernels::bf16_to_fp32(nullptr, out.data(), raw.data(), raw.size());
    else
      kernels::fp16_to_fp32(nullptr, out.data(), raw.data(), raw.size());
    return {};
  };
}

Result<void> fill_residence(Residence& residence, const ParameterSource& source,
                            bool weight_is_fp16, ThreadPool& pool) {
  const Plan& plan = residence.plan();
  std::vector<float> tile(tile_elements);
  for (swap::ChunkId c = 0; c < plan.chunks.size(); ++c) {
    const swap::Chunk& chunk = plan.layout.chunk(c);
    FATHOM_ASSIGN(const ChunkView view, residence.visit(c, /*read=*/false));
    for (std::uint64_t at = 0; at < chunk.elements; at += tile_elements) {
      const std::span<float> values(tile.data(), std::min(tile_elements, chunk.elements - at));
      FATHOM_CHECK(fill_tile(plan.input.model.units[chunk.unit], plan.units[chunk.unit].flat,
                             source, plan.first_element(c) + at, values));
      put_weights(residence, view, at, values, weight_is_fp16, pool);
    }
    if (view.m != nullptr) std::memset(view.m, 0, chunk.elements * sizeof(float));
    if (view.v != nullptr) std::memset(view.v, 0, chunk.elements * sizeof(float));
    FATHOM_CHECK(residence.store_chunk(c));
  }
  return {};
}

}  // namespace fathom::engine
