// SPDX-License-Identifier: Apache-2.0
//
// Any tokenizer.json is refused or gives a tokenizer that encodes and decodes any text without
// harm. A zero byte parts the file from the text. tests/data/tokenizers is a good corpus to begin
// with.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.hpp"
#include "models/tokenizer.hpp"
#include "models/utf8.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using fathom::models::is_valid_utf8;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  const auto tokenizer = fathom::models::Tokenizer::parse(input.substr(0, end), "tokenizer.json");
  if (!tokenizer) return 0;
  const std::string_view text =
      end == std::string_view::npos ? "a B\xff <s>\n\u00e9\u0301 12" : input.substr(end + 1);
  const auto ids = tokenizer->encode(text, true);
  for (const auto id : ids)
    FATHOM_ASSERT(id < tokenizer->vocabulary(), "ids are below the vocabulary");
  FATHOM_ASSERT(is_valid_utf8(tokenizer->decode(ids, false)), "decoded text is well-formed");
  fathom::models::StreamDecoder stream(*tokenizer, {});
  std::string streamed;
  for (const auto id : ids) streamed += stream.push(id);
  FATHOM_ASSERT(is_valid_utf8(streamed + stream.finish()), "streamed text is well-formed");
  return 0;
}
