// SPDX-License-Identifier: Apache-2.0
//
// Byte-level spelling: each byte as one visible character, as GPT-2's vocabulary has them. Internal
// to the tokenizer.
//
//   to_byte_level(" é") -> "ĠÃ©";  from_byte_level("ĠÃ©") -> " é"
#pragma once

#include <string>
#include <string_view>

namespace fathom::models {

std::string to_byte_level(std::string_view bytes);

// The bytes of a piece; a piece with a character that stands for no byte is taken as it is.
std::string from_byte_level(std::string_view piece);

}  // namespace fathom::models
