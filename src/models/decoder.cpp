// SPDX-License-Identifier: Apache-2.0
#include "models/decoder.hpp"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/tokenizer_part.hpp"
#include "models/utf8.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// Runs of byte pieces become the characters that they spell; a run that spells none becomes one
// U+FFFD per byte.
std::vector<std::string> decode_bytes(std::vector<std::string> pieces) {
  std::vector<std::string> out;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (is_valid_utf8(run)) {
      out.push_back(run);
    } else {
      for (std::size_t i = 0; i < run.size(); ++i) out.emplace_back(replacement_character);
    }
    run.clear();
  };
  for (std::string& piece : pieces) {
    if (const int byte = fallback_byte(piece); byte >= 0) {
      run += static_cast<char>(byte);
    } else {
      flush();
      out.push_back(std::move(piece));
    }
  }
  flush();
  return out;
}

void strip(std::string& piece, const std::string& content, std::size_t start, std::size_t stop) {
  for (std::size_t i = 0; i < start && piece.starts_with(content); ++i)
    piece.erase(0, content.size());
  for (std::size_t i = 0; i < stop && piece.ends_with(content); ++i) {
    piece.resize(piece.size() - content.size());
  }
}

std::string fuse(const std::vector<std::string>& pieces, std::string_view between) {
  std::string text;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0) text += between;
    text += pieces[i];
  }
  return text;
}

}  // namespace

int fallback_byte(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece.back() != '>') return -1;
  const int high = hex_digit(piece[3]), low = hex_digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

Result<Decoder::Step> Decoder::make_step(std::string_view type, const Json& json,
                                         std::string_view origin) {
  const PartPlace place{origin, "decoder"};
  Step step{};
  if (type == "Replace") {
    step.kind = Kind::replace;
    FATHOM_ASSIGN(step.pattern, literal_pattern(json, place));
    step.content = part_text(json, "content");
  } else if (type == "ByteFallback") {
    step.kind = Kind::byte_fallback;
  } else if (type == "Fuse") {
    step.kind = Kind::fuse;
  } else if (type == "Strip") {
    step.kind = Kind::strip;
    step.content = part_text(json, "content");
    if (step.content.empty()) return fail(malformed_part(place, "Strip has no content"));
    for (const auto& [key, value] :
         {std::pair("start", &Step::start), std::pair("stop", &Step::stop)}) {
      const auto at = json.find(key);
      if (at == json.end() || !at->is_number_unsigned()) {
        return fail(malformed_part(place, "start and stop of Strip are not whole numbers"));
      }
      step.*value = at->get<std::size_t>();
    }
  } else if (type == "Metaspace") {
    step.kind = Kind::metaspace;
    step.pattern = part_text(json, "replacement");
    if (step.pattern.empty()) {
      return fail(malformed_part(place, "Metaspace has no replacement"));
    }
    const auto add_prefix = json.find("add_prefix_space");
    step.drop_first = part_text(json, "prepend_scheme") != "never" &&
                      !(add_prefix != json.end() && *add_prefix == false);
  } else {
    return fail(unsupported_part(place, fmt::format("\"{}\"", type),
                                 "Replace, ByteFallback, Fuse, Strip, Metaspace, Sequence"));
  }
  return step;
}

Result<Decoder> Decoder::from_json(const Json& json, std::string_view origin) {
  Decoder decoder;
  decoder.join_with_spaces_ = json.is_null();
  if (json.is_null()) return decoder;
  FATHOM_ASSIGN(const auto steps, part_steps(json, "decoders", {origin, "decoder"}));
  for (const auto& [type, part] : steps) {
    FATHOM_ASSIGN(Step step, make_step(type, *part, origin));
    decoder.steps_.push_back(std::move(step));
  }
  return decoder;
}

std::string Decoder::apply(std::vector<std::string> pieces) const {
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::replace:
        for (std::string& piece : pieces) piece = replace_all(piece, step.pattern, step.content);
        break;
      case Kind::byte_fallback: pieces = decode_bytes(std::move(pieces)); break;
      case Kind::fuse: pieces = {fuse(pieces, "")}; break;
      case Kind::strip:
        for (std::string& piece : pieces) strip(piece, step.content, step.start, step.stop);
        break;
      case Kind::metaspace:
        for (std::size_t i = 0; i < pieces.size(); ++i) {
          pieces[i] = replace_all(pieces[i], step.pattern, i == 0 && step.drop_first ? "" : " ");
        }
        break;
    }
  }
  return fuse(pieces, join_with_spaces_ ? " " : "");
}

}  // namespace fathom::models
