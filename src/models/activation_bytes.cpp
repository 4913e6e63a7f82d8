// SPDX-License-Identifier: Apache-2.0
#include "base/assert.hpp"
#include "models/spec.hpp"

namespace fathom::models {
namespace {

ActivationBytes of_embedding(const ModelSpec& spec, std::uint64_t tokens, std::uint64_t element) {
  const std::uint64_t output = tokens * spec.hidden * element;
  return {output, output + spec.units.front().elements() * element};
}

ActivationBytes of_layer(const ModelSpec& spec, std::uint64_t elements, std::uint64_t tokens,
                         std::uint64_t element) {
  const std::uint64_t hidden = spec.hidden, middle = spec.intermediate;
  const std::uint64_t query = spec.heads * spec.head_dim, key = spec.kv_heads * spec.head_dim;
  const std::uint64_t wide = element < 4 ? 4 * hidden : 0;  // norms compute in fp32
  ActivationBytes bytes;
  bytes.forward = tokens * (element * (4 * hidden + 3 * query + 4 * key + 2 * middle) + wide);
  bytes.backward = tokens * (element * (8 * hidden + 5 * query + 5 * key + 7 * middle) + 2 * wide) +
                   elements * element;
  return bytes;
}

ActivationBytes of_head(const ModelSpec& spec, std::uint64_t tokens, std::uint64_t element) {
  const std::uint64_t rows = loss_chunk_rows(spec, tokens);
  const std::uint64_t logits = rows * spec.vocabulary * (element < 4 ? element + 4 : 4);
  const std::uint64_t norm = rows * spec.hidden * (3 * element + (element < 4 ? 4 : 0));
  ActivationBytes bytes;
  bytes.forward = logits + norm;
  bytes.backward = logits + 2 * norm + tokens * spec.hidden * element +
                   (spec.vocabulary + 1) * spec.hidden * element;
  return bytes;
}

}  // namespace

ActivationBytes activation_bytes(const ModelSpec& spec, std::uint32_t unit, std::uint64_t batch,
                                 std::uint64_t length, std::uint64_t element_bytes) {
  FATHOM_ASSERT(unit < spec.units.size(), "no such unit");
  const std::uint64_t tokens = batch * length;
  switch (spec.units[unit].kind) {
    case UnitKind::embedding:
      return of_embedding(spec, tokens, element_bytes);
    case UnitKind::layer:
      return of_layer(spec, spec.units[unit].elements(), tokens, element_bytes);
    case UnitKind::head:
      return of_head(spec, tokens, element_bytes);
  }
  return {};
}

}  // namespace fathom::models
