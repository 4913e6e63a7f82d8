// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/units.hpp"
#include "models/added_tokens.hpp"
#include "models/bpe.hpp"
#include "models/decoder.hpp"
#include "models/normalizer.hpp"
#include "models/text_file.hpp"
#include "models/tokenizer_part.hpp"
#include "models/utf8.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;
constexpr std::uint64_t tokenizer_limit = 512 * MiB;

struct Piece {
  std::string text;
  bool known = false, special = false;
};

}  // namespace

struct Tokenizer::State {
  std::optional<Bpe> bpe;  // absent: bytes
  Normalizer normalizer;
  Metaspace metaspace;
  Decoder decoder;
  AddedTokens raw, normalized;          // matched before and after normalisation
  std::vector<TokenId> prefix, suffix;  // of the template
  std::vector<Piece> pieces;            // by id

  Result<void> read_added(const Json& json, std::string_view origin);
  Result<void> read_template(const Json& json, std::string_view origin);
  void set_piece(TokenId id, std::string text, bool special);
  void encode_segment(std::string_view text, std::size_t offset,
                      const std::function<void(std::span<const TokenId>)>& sink) const;
};

void Tokenizer::State::set_piece(TokenId id, std::string text, bool special) {
  if (id >= pieces.size()) pieces.resize(id + 1);
  pieces[id] = {std::move(text), true, special};
}

Result<void> Tokenizer::State::read_added(const Json& json, std::string_view origin) {
  constexpr const char* part = "added_tokens";
  if (json.is_null()) return {};
  if (!json.is_array()) return fail(malformed_part({origin, part}, "it is not a list"));
  for (const Json& entry : json) {
    if (!entry.is_object() || !entry.contains("content") || !entry["content"].is_string() ||
        !entry.contains("id") || !entry["id"].is_number_unsigned() ||
        entry["id"].get<std::uint64_t>() >= (1U << 26)) {
      return fail(malformed_part({origin, part}, entry.dump() + " has no content or no id"));
    }
    const auto flag = [&](const char* key) {
      return entry.contains(key) && entry[key].is_boolean() && entry[key].get<bool>();
    };
    AddedToken token{entry["content"].get<std::string>(),
                     entry["id"].get<TokenId>(),
                     flag("special"),
                     flag("lstrip"),
                     flag("rstrip"),
                     flag("normalized")};
    if (flag("single_word")) {
      return fail(
          unsupported_part({origin, part}, "single_word of \"" + token.content + "\"", "false"));
    }
    set_piece(token.id, token.content, token.special);
    if (token.normalized) {
      token.content = normalizer.apply(token.content);
      normalized.add(std::move(token));
    } else {
      raw.add(std::move(token));
    }
  }
  return {};
}

Result<void> Tokenizer::State::read_template(const Json& json, std::string_view origin) {
  constexpr const char* part = "post_processor";
  if (json.is_null()) return {};
  FATHOM_ASSIGN(const std::string_view type, part_type(json, {origin, part}));
  if (type != "TemplateProcessing")
    return fail(
        unsupported_part({origin, part}, fmt::format("\"{}\"", type), "null, TemplateProcessing"));
  const auto single = json.find("single"), special = json.find("special_tokens");
  if (single == json.end() || !single->is_array()) {
    return fail(malformed_part({origin, part}, "it has no template \"single\""));
  }
  bool after = false;
  for (const Json& item : *single) {
    if (item.is_object() && item.contains("Sequence")) {
      if (after) return fail(malformed_part({origin, part}, "\"single\" holds the text twice"));
      after = true;
      continue;
    }
    const bool named = item.is_object() && item.contains("SpecialToken") &&
                       item["SpecialToken"].is_object() && item["SpecialToken"].contains("id") &&
                       item["SpecialToken"]["id"].is_string();
    if (!named) return fail(malformed_part({origin, part}, item.dump() + " is no template item"));
    const std::string name = item["SpecialToken"]["id"].get<std::string>();
    const bool defined = special != json.end() && special->is_object() && special->contains(name) &&
                         (*special)[name].is_object() && (*special)[name].contains("ids") &&
                         (*special)[name]["ids"].is_array();
    if (!defined) return fail(malformed_part({origin, part}, "\"" + name + "\" is not defined"));
    for (const Json& id : (*special)[name]["ids"]) {
      if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= pieces.size()) {
        return fail(malformed_part({origin, part}, id.dump() + " is not a token id"));
      }
      (after ? suffix : prefix).push_back(id.get<TokenId>());
    }
  }
  if (!after) return fail(malformed_part({origin, part}, "\"single\" leaves the text out"));
  return {};
}

void Tokenizer::State::encode_segment(
    std::string_view text, std::size_t offset,
    const std::function<void(std::span<const TokenId>)>& sink) const {
  std::vector<TokenId> ids;
  const auto flush = [&] {
    sink(ids);
    ids.clear();
  };
  const std::string normal = normalizer.apply(text);
  for (const AddedTokens::Piece& piece : normalized.split(normal)) {
    if (piece.token != nullptr) {
      ids.push_back(piece.token->id);
      continue;
    }
    if (!metaspace.active()) {
      bpe->encode(piece.text, ids);
      flush();
      continue;
    }
    const std::string marked = metaspace.apply(piece.text, offset + piece.offset == 0);
    metaspace.words(marked, [&](std::string_view word) { bpe->encode(word, ids); });
    flush();
  }
  flush();
}

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::bytes() { return Tokenizer(std::make_unique<State>()); }

Result<Tokenizer> Tokenizer::parse(std::string_view json, std::string_view origin) {
  FATHOM_ASSIGN(const Json root, parse_json(json, origin));
  if (!root.is_object() || !root.contains("model")) {
    return fail(malformed_part({origin, "model"}, "the file has no model"));
  }
  const auto value = [&](const char* key) {
    const auto at = root.find(key);
    return at == root.end() ? Json() : *at;
  };
  auto state = std::make_unique<State>();
  FATHOM_ASSIGN(state->bpe, Bpe::from_json(root["model"], origin));
  FATHOM_ASSIGN(state->normalizer, Normalizer::from_json(value("normalizer"), origin));
  FATHOM_ASSIGN(state->metaspace, Metaspace::from_json(value("pre_tokenizer"), origin));
  FATHOM_ASSIGN(state->decoder, Decoder::from_json(value("decoder"), origin));
  for (const auto& [piece, id] : state->bpe->vocabulary()) {
    if (id < state->pieces.size() && state->pieces[id].known) {
      return fail(malformed_part(
          {origin, "model"},
          fmt::format("\"{}\" and \"{}\" have the same id {}", piece, state->pieces[id].text, id)));
    }
    state->set_piece(id, piece, false);
  }
  FATHOM_CHECK(state->read_added(value("added_tokens"), origin));
  FATHOM_CHECK(state->read_template(value("post_processor"), origin));
  return Tokenizer(std::move(state));
}

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::path file = path;
  if (std::filesystem::is_directory(path, ignored)) {
    file = path / "tokenizer.json";
    if (!std::filesystem::exists(file, ignored)) {
      for (const char* other : {"tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"}) {
        if (!std::filesystem::exists(path / other, ignored)) continue;
        return fail(Error(Errc::unsupported, "read a tokenizer")
                        .on((path / other).string())
                        .because("only tokenizer.json is read, and the directory has none")
                        .remedy("convert the tokenizer to tokenizer.json"));
      }
      return bytes();
    }
  } else if (path.filename() != "tokenizer.json") {
    return bytes();
  }
  FATHOM_ASSIGN(const std::string text, read_text_file(file, tokenizer_limit));
  return parse(text, file.string());
}

void Tokenizer::encode_pieces(std::string_view text,
                              const std::function<void(std::span<const TokenId>)>& sink) const {
  if (is_bytes()) {
    std::vector<TokenId> ids;
    for (std::size_t at = 0; at < text.size(); at += MiB) {
      ids.clear();
      for (const char c : text.substr(at, MiB)) ids.push_back(static_cast<unsigned char>(c));
      sink(ids);
    }
    return;
  }
  const bool valid = is_valid_utf8(text);
  const std::string repaired = valid ? std::string() : valid_utf8(text);
  for (const AddedTokens::Piece& piece :
       state_->raw.split(valid ? text : std::string_view(repaired))) {
    if (piece.token != nullptr) {
      sink(std::span(&piece.token->id, 1));
    } else {
      state_->encode_segment(piece.text, piece.offset, sink);
    }
  }
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<TokenId> ids;
  if (add_special) ids = state_->prefix;
  encode_pieces(text, [&](std::span<const TokenId> more) {
    ids.insert(ids.end(), more.begin(), more.end());
  });
  if (add_special) ids.insert(ids.end(), state_->suffix.begin(), state_->suffix.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  if (is_bytes()) {
    std::string text;
    for (const TokenId id : ids) {
      if (id < 256) text += static_cast<char>(id);
    }
    return valid_utf8(text);
  }
  std::vector<std::string> texts;
  for (const TokenId id : ids) {
    if (id >= state_->pieces.size() || !state_->pieces[id].known) continue;
    if (skip_special && state_->pieces[id].special) continue;
    texts.push_back(state_->pieces[id].text);
  }
  return state_->decoder.apply(std::move(texts));
}

std::uint64_t Tokenizer::vocabulary() const { return is_bytes() ? 256 : state_->pieces.size(); }

bool Tokenizer::is_bytes() const { return !state_->bpe; }

}  // namespace fathom::models
