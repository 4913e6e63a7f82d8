// SPDX-License-Identifier: Apache-2.0
//
// TokenId: the number of a piece of text in a vocabulary.
#pragma once

#include <cstdint>

namespace fathom::models {

using TokenId = std::uint32_t;

}  // namespace fathom::models
