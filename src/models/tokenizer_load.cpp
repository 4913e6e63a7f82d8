// SPDX-License-Identifier: Apache-2.0
//
// Where a tokenizer comes from: tokenizer.json, else tokenizer.model or spiece.model, else bytes.
#include <algorithm>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/units.hpp"
#include "models/text_file.hpp"
#include "models/tokenizer_part.hpp"
#include "models/tokenizer_state.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;
constexpr std::uint64_t tokenizer_limit = 512 * MiB, config_limit = 16 * MiB;
// As many as T5 and its kin were trained with.
constexpr std::uint64_t default_sentinels = 100, most_sentinels = 10'000;

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// tokenizer_config.json beside the model; an empty object when there is none.
Result<Json> tokenizer_config(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "tokenizer_config.json";
  if (!is_there(file)) return Json::object();
  FATHOM_ASSIGN(const std::string text, models::read_text_file(file, config_limit));
  FATHOM_ASSIGN(Json config, parse_json(text, file.string()));
  return config.is_object() ? std::move(config) : Json::object();
}

}  // namespace

Result<Tokenizer> Tokenizer::parse(std::string_view json, std::string_view origin) {
  FATHOM_ASSIGN(const Json root, parse_json(json, origin));
  if (!root.is_object() || !root.contains("model"))
    return fail(malformed_part({origin, "model"}, "the file has no model"));
  const auto value = [&](const char* key) {
    const auto at = root.find(key);
    return at == root.end() ? Json() : *at;
  };
  auto state = std::make_unique<State>();
  FATHOM_ASSIGN(state->model, make_token_model(root["model"], origin));
  FATHOM_ASSIGN(state->normalizer, Normalizer::from_json(value("normalizer"), origin));
  FATHOM_ASSIGN(state->pre_tokenizer, PreTokenizer::from_json(value("pre_tokenizer"), origin));
  FATHOM_ASSIGN(state->decoder, Decoder::from_json(value("decoder"), origin));
  FATHOM_CHECK(state->read_pieces(origin));
  FATHOM_CHECK(state->read_added(value("added_tokens"), origin));
  FATHOM_ASSIGN(state->around,
                PostProcessor::from_json(value("post_processor"), origin, state->pieces.size()));
  return Tokenizer(std::move(state));
}

// Hugging Face's conventions: a model with a begin token (Llama) puts it in front of a text; one
// without (T5) puts its end token behind it and has sentinels above its own pieces.
Result<Tokenizer> Tokenizer::from_sentencepiece(const std::filesystem::path& file) {
  FATHOM_ASSIGN(const Json config, tokenizer_config(file.parent_path()));
  auto state = std::make_unique<State>();
  FATHOM_ASSIGN(state->sentencepiece, SentencePieceModel::load(file));
  const auto begin = state->sentencepiece->begin_id(), end = state->sentencepiece->end_id();
  TokenId next = 0;
  bool has_sentinels = begin.has_value();
  for (auto& [text, control] : state->sentencepiece->pieces()) {
    has_sentinels |= text == "<extra_id_0>";
    if (control) {
      state->add_token({.content = text, .id = next, .special = true});
    } else {
      state->set_piece(next, text, false);
    }
    ++next;
  }
  std::uint64_t sentinels = has_sentinels ? 0 : default_sentinels;
  if (const auto at = config.find("extra_ids");
      !has_sentinels && at != config.end() && at->is_number_unsigned())
    sentinels = std::min(at->get<std::uint64_t>(), most_sentinels);
  for (std::uint64_t i = sentinels; i-- > 0; ++next)
    state->add_token({.content = fmt::format("<extra_id_{}>", i), .id = next, .special = true});
  if (begin && part_flag(config, "add_bos_token", true)) state->around.prefix = {*begin};
  if (end && part_flag(config, "add_eos_token", !begin)) state->around.suffix = {*end};
  return Tokenizer(std::move(state));
}

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool directory = std::filesystem::is_directory(path, ignored);
  const std::filesystem::path file = directory ? path / "tokenizer.json" : path;
  if (file.filename() == "tokenizer.json" && (!directory || is_there(file))) {
    FATHOM_ASSIGN(const std::string text, models::read_text_file(file, tokenizer_limit));
    return parse(text, file.string());
  }
  if (!directory)
    return file.extension() == ".model" ? from_sentencepiece(file) : Result<Tokenizer>(bytes());
  for (const char* name : {"tokenizer.model", "spiece.model"})
    if (is_there(path / name)) return from_sentencepiece(path / name);
  for (const char* other : {"vocab.json", "vocab.txt"}) {
    if (!is_there(path / other)) continue;
    return fail(Error(Errc::unsupported, "read a tokenizer")
                    .on((path / other).string())
                    .because("tokenizer.json and tokenizer.model are read, and the directory has "
                             "neither")
                    .remedy("convert the tokenizer to tokenizer.json"));
  }
  return bytes();
}

}  // namespace fathom::models
