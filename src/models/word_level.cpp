// SPDX-License-Identifier: Apache-2.0
#include "models/word_level.hpp"

#include <nlohmann/json.hpp>

namespace fathom::models {

Result<std::unique_ptr<WordLevel>> WordLevel::from_json(const nlohmann::json& json,
                                                        std::string_view origin) {
  auto model = std::make_unique<WordLevel>();
  FATHOM_ASSIGN(model->ids_, Vocabulary::from_json(json, origin));
  FATHOM_ASSIGN(model->unknown_, model->ids_.unknown(json, origin));
  return model;
}

}  // namespace fathom::models
