// SPDX-License-Identifier: Apache-2.0
#include "models/decoder.hpp"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/byte_level.hpp"
#include "models/text_pattern.hpp"
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
  if (type == "ByteFallback") return Step([](Pieces& all) { all = decode_bytes(std::move(all)); });
  if (type == "Fuse") return Step([](Pieces& all) { all = {fuse(all, "")}; });
  if (type == "ByteLevel")
    return Step([](Pieces& all) {
      std::string bytes;
      for (const std::string& piece : all) bytes += from_byte_level(piece);
      all = {valid_utf8(bytes)};
    });
  if (type == "Replace") {
    FATHOM_ASSIGN(TextPattern pattern, TextPattern::from_json(json, place));
    return Step([pattern = std::move(pattern), content = part_text(json, "content")](Pieces& all) {
      for (std::string& piece : all) piece = pattern.replace(piece, content);
    });
  }
  if (type == "Strip") {
    const std::string content = part_text(json, "content");
    if (content.empty()) return fail(malformed_part(place, "Strip has no content"));
    std::size_t counts[2] = {};
    for (const auto& [i, key] : {std::pair(0, "start"), std::pair(1, "stop")}) {
      const auto at = json.find(key);
      if (at == json.end() || !at->is_number_unsigned())
        return fail(malformed_part(place, "start and stop of Strip are not whole numbers"));
      counts[i] = at->get<std::size_t>();
    }
    return Step([content, start = counts[0], stop = counts[1]](Pieces& all) {
      for (std::string& piece : all) strip(piece, content, start, stop);
    });
  }
  if (type == "Metaspace") {
    const std::string mark = part_text(json, "replacement");
    if (mark.empty()) return fail(malformed_part(place, "Metaspace has no replacement"));
    // The mark that was put in front of the text goes with the others of the first piece.
    const bool drop_first = json.contains("prepend_scheme")
                                ? part_text(json, "prepend_scheme") != "never"
                                : part_flag(json, "add_prefix_space", true);
    return Step([mark = TextPattern(mark), drop_first](Pieces& all) {
      for (std::size_t i = 0; i < all.size(); ++i)
        all[i] = mark.replace(all[i], i == 0 && drop_first ? "" : " ");
    });
  }
  if (type == "BPEDecoder") {
    const std::string suffix = json.contains("suffix") ? part_text(json, "suffix") : "</w>";
    return Step([suffix = TextPattern(suffix)](Pieces& all) {
      for (std::size_t i = 0; i < all.size(); ++i)
        all[i] = suffix.replace(all[i], i + 1 == all.size() ? "" : " ");
    });
  }
  return fail(unsupported_part(
      place, fmt::format("\"{}\"", type),
      "null, ByteLevel, Metaspace, ByteFallback, Fuse, Strip, Replace, BPEDecoder, Sequence"));
}

Result<Decoder> Decoder::from_json(const Json& json, std::string_view origin) {
  Decoder decoder;
  decoder.join_with_spaces_ = json.is_null();
  if (json.is_null()) return decoder;
  FATHOM_ASSIGN(const auto steps, part_steps(json, "decoders", {origin, "decoder"}));
  for (const auto& [type, part] : steps) {
    FATHOM_ASSIGN(Step step, make_step(type, *part, origin));
    decoder.steps_.push_back(std::move(step));
    decoder.byte_level_ |= type == "ByteLevel";
  }
  return decoder;
}

std::string Decoder::apply(std::vector<std::string> pieces) const {
  for (const Step& step : steps_) step(pieces);
  return fuse(pieces, join_with_spaces_ ? " " : "");
}

}  // namespace fathom::models
