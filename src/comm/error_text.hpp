// SPDX-License-Identifier: Apache-2.0
//
// Errors as text that travels to the other ranks and is an Error again there.
//
//   decode_error(encode_error(error)).message() == error.message()
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"

namespace fathom::comm {

std::string encode_error(const Error& error);  // never empty
Error decode_error(std::string_view text);     // an internal Error if the text is not one of ours

}  // namespace fathom::comm
