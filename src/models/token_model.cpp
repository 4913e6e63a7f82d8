// SPDX-License-Identifier: Apache-2.0
#include "models/token_model.hpp"

#include <utility>

#include <nlohmann/json.hpp>

#include "models/bpe.hpp"
#include "models/tokenizer_part.hpp"
#include "models/unigram.hpp"
#include "models/word_level.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;

template <class Model>
Result<std::unique_ptr<TokenModel>> make(const Json& json, std::string_view origin) {
  FATHOM_ASSIGN(std::unique_ptr<Model> model, Model::from_json(json, origin));
  return std::unique_ptr<TokenModel>(std::move(model));
}

}  // namespace

Result<std::unique_ptr<TokenModel>> make_token_model(const Json& json, std::string_view origin) {
  const PartPlace place{origin, "model"};
  if (!json.is_object()) return fail(malformed_part(place, "it is not an object"));
  const auto type = json.find("type");
  // Old files leave the type out.
  if (type == json.end() || *type == "BPE") {
    const auto vocab = json.find("vocab");
    if (vocab != json.end() && vocab->is_array()) return make<Unigram>(json, origin);
    return make<Bpe>(json, origin);
  }
  if (*type == "Unigram") return make<Unigram>(json, origin);
  if (*type == "WordLevel") return make<WordLevel>(json, origin);
  return fail(unsupported_part(place, type->dump(), "BPE, Unigram, WordLevel"));
}

}  // namespace fathom::models
