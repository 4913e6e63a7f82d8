// SPDX-License-Identifier: Apache-2.0
//
// Any tokenizer.json is refused or gives a tokenizer that encodes and decodes without harm.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/assert.hpp"
#include "models/tokenizer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = fathom::models::Tokenizer::parse(json, "tokenizer.json");
  if (!tokenizer) return 0;
  const auto ids = tokenizer->encode("a b\xff <s>", true);
  for (const auto id : ids)
    FATHOM_ASSERT(id < tokenizer->vocabulary(), "ids are below the vocabulary");
  (void)tokenizer->decode(ids, false);
  return 0;
}
