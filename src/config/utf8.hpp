// SPDX-License-Identifier: Apache-2.0
//
// UTF-8: is a text well formed, and one code point as bytes. Pure.
//
//   valid_utf8("\xC3\xA9")  -> true
//   std::string text; append_utf8(0xE9, text);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fathom::config {

bool valid_utf8(std::string_view text);  // rejects overlong forms and surrogates
void append_utf8(std::uint32_t code_point, std::string& out);

}  // namespace fathom::config
