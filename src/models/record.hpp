// SPDX-License-Identifier: Apache-2.0
//
// Record: one line of a .jsonl file for decoder-only models, as tokens.
//
// Forms        {"text": "…"}                          every token is learned
//              {"prompt": "…", "completion": "…"}     the completion is; the prompt is tokenised
//              with
//                                                     the special tokens that `generate` puts
//                                                     before it
//              {"input_ids": […], "labels": […]}      labels[i] is input_ids[i], or -100: not
//                                                     learned; without labels everything is
// Errors       bad_input, with file and line: `origin` says them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "models/tokenizer.hpp"

namespace fathom::models {

struct Record {
  std::vector<TokenId> ids = {};
  std::vector<bool> ignored = {};  // as long as ids; empty: every token is learned
  bool needs_end = false;          // the completion of a prompt ends with EOS
};

Result<Record> read_record(std::string_view line, const std::string& origin,
                           const Tokenizer& tokenizer);

}  // namespace fathom::models
