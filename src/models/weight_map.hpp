// SPDX-License-Identifier: Apache-2.0
//
// WeightMap: which tensor of a model's files holds which parameter.
//
// Purpose      Compares files and ModelSpec as a whole before anything is read: every parameter
//              that is missing, every tensor that no parameter asks for, every other shape or type
//              is named in one Error. Files of the bare model may leave the family's prefix out;
//              tensors that files of the family are known to hold besides are ignored.
// Ownership    Borrows the reader's tensors.
// Threads      Immutable once made.
//
//   FATHOM_ASSIGN(const WeightMap weights, WeightMap::match(reader, spec));
//   FATHOM_CHECK(reader.read(weights.of("model.norm.weight"), 0, bytes));
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "models/safetensors.hpp"
#include "models/spec.hpp"

namespace fathom::models {

class WeightMap {
 public:
  // Errors: bad_input, with all names.
  static Result<WeightMap> match(const SafetensorsReader& reader, const ModelSpec& spec);

  const TensorInfo& of(const std::string& parameter) const;

 private:
  std::map<std::string, const TensorInfo*> tensors_;
};

// Whether a tensor's name is one of `patterns`, where * stands for one part between dots.
bool matches_name(std::string_view pattern, std::string_view name);

}  // namespace fathom::models
