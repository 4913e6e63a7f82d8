// SPDX-License-Identifier: Apache-2.0
//
// export_model: a checkpoint as a Hugging Face directory.
//
// Purpose      Streams parameter by parameter: memory stays at one chunk whatever the model's size.
// fp32 is
//              the exact master; bf16 is W itself, what the model computed with.
// Files        model.safetensors (or shards with an index), config.json with the dtype, tokenizer
// files. Threads      One call at a time.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace fathom::engine {

struct ExportOptions {
  std::string checkpoint, out;
  std::string dtype = "fp32";  // fp32 | bf16 | fp16
  std::uint64_t max_shard_bytes = 5'000'000'000;
};

struct ExportSummary {
  std::uint64_t tensors = 0, bytes = 0;
  std::int64_t step = 0;
};

Result<ExportSummary> export_model(const ExportOptions& options);

}  // namespace fathom::engine
