// SPDX-License-Identifier: Apache-2.0
//
// The small files of a Hugging Face directory that travel with weights: configuration and
// tokenizer.
//
// Threads      Safe; touches the file system.
#pragma once

#include <string>

#include "base/result.hpp"

namespace fathom::engine {

// Whether `model` is a directory with weights, readable or not (else: a config.json alone).
bool has_weights(const std::string& model);

// Copies config.json, generation_config.json and tokenizer files, as far as they are there.
Result<void> copy_model_files(const std::string& model, const std::string& directory);

}  // namespace fathom::engine
