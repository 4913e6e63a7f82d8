// SPDX-License-Identifier: Apache-2.0
#include "engine/weight_check.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "engine/optimizer_rule.hpp"
#include "engine/transfers.hpp"
#include "kernels/convert.hpp"
#include "kernels/norm.hpp"

namespace fathom::engine {

Result<std::optional<std::string>> first_non_finite_weight(Residence& residence, ThreadPool& pool) {
  constexpr std::uint64_t tile_elements = 256 * KiB;
  const Plan& plan = residence.plan();
  const kernels::MasterFormat master = master_format(plan.layout.sections());
  std::vector<float> joined(tile_elements);
  for (swap::ChunkId c = 0; c < plan.chunks.size(); ++c) {
    FATHOM_ASSIGN(const ChunkView view, residence.visit(c, /*read=*/true));
    for (std::uint64_t at = 0; at < view.elements; at += tile_elements) {
      const std::uint64_t count = std::min(tile_elements, view.elements - at);
      const float* values = joined.data();
      if (master == kernels::MasterFormat::split)
        kernels::join_master(&pool, joined.data(),
                             reinterpret_cast<const std::uint16_t*>(view.weights) + at,
                             view.low + at, count);
      else if (master == kernels::MasterFormat::half)
        values = view.master() + at;
      else
        values = reinterpret_cast<const float*>(view.weights) + at;
      const auto stats = kernels::gradient_stats(&pool, values, count);
      if (!stats.first_non_finite) continue;
      const swap::Chunk& chunk = plan.layout.chunk(c);
      return fmt::format(
          "{}, {}", plan.input.model.units[chunk.unit].name,
          parameter_at(plan, chunk.unit, plan.first_element(c) + at + *stats.first_non_finite));
    }
  }
  return std::nullopt;
}

}  // namespace fathom::engine
