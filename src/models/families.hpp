// SPDX-License-Identifier: Apache-2.0
//
// Families: the registry of model families.
//
// Purpose      One line a family: its model_type, its architecture, and the function that turns its
//              config.json into units and switches (family_NAME.cpp). Blocks, memory and loading
//              follow from those; a family made of known parts needs nothing else.
// Threads      Pure.
//
//   for (const Family& family : families()) …
#pragma once

#include <span>
#include <string>

#include "base/result.hpp"
#include "models/spec.hpp"

namespace fathom::models {

class Fields;

struct Family {
  const char* model_type;    // of config.json
  const char* architecture;  // as in "architectures", for files without a model_type
  // Fills in everything but family, vocabulary, dtype and special tokens, which are read before.
  Result<void> (*read)(const Fields& fields, ModelSpec& spec);
};

std::span<const Family> families();

// "llama, mistral, …", for messages.
std::string family_names();

Result<void> read_llama(const Fields& fields, ModelSpec& spec);
Result<void> read_gpt2(const Fields& fields, ModelSpec& spec);
Result<void> read_opt(const Fields& fields, ModelSpec& spec);
Result<void> read_t5(const Fields& fields, ModelSpec& spec);

}  // namespace fathom::models
