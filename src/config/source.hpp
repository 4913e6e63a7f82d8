// SPDX-License-Identifier: Apache-2.0
//
// Source: from what a user passes as --config to the text and a name for it.
//
//   FATHOM_ASSIGN(SourceText source, read_source("ds_config.json"));
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace fathom::config {

struct SourceText {
  std::string text;
  std::string origin;  // what messages begin with
};

// A path, "-" (standard input), JSON text (begins with a brace), or base64 of JSON text, plain or
// URL-safe. Errors: not_found, io; bad_config for a text of more than 1 MiB.
Result<SourceText> read_source(std::string_view source);

}  // namespace fathom::config
