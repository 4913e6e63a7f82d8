// SPDX-License-Identifier: Apache-2.0
#include "models/normalizer.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/byte_level.hpp"
#include "models/charsmap.hpp"
#include "models/text_pattern.hpp"
#include "models/tokenizer_part.hpp"
#include "models/unicode.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;

// The characters that `keep` wants.
template <class F>
std::string filter(std::string_view text, F&& keep) {
  std::string out;
  out.reserve(text.size());
  each_character(text, [&](std::string_view bytes, char32_t c) {
    if (keep(c)) out += bytes;
  });
  return out;
}

std::string strip(std::string_view text, bool left, bool right) {
  std::size_t begin = text.size(), end = 0, at = 0;
  each_character(text, [&](std::string_view bytes, char32_t c) {
    if (!is_white_space(c)) {
      begin = std::min(begin, at);
      end = at + bytes.size();
    }
    at += bytes.size();
  });
  if (begin >= end) return left || right ? std::string() : std::string(text);
  if (!left) begin = 0;
  if (!right) end = text.size();
  return std::string(text.substr(begin, end - begin));
}

// SentencePiece's clean-up: control characters go, all kinds of space become one.
std::string nmt(std::string_view text) {
  std::string out;
  each_character(text, [&](std::string_view bytes, char32_t c) {
    if ((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
        c == 0x8F || c == 0x9F)
      return;
    const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    out += space ? std::string_view(" ") : bytes;
  });
  return out;
}

struct Bert {
  bool clean = true, pad_ideographs = true, strip_accents = false, lower = true;

  std::string operator()(std::string_view text) const {
    std::string out;
    each_character(text, [&](std::string_view bytes, char32_t c) {
      if (clean && (c == 0 || c == 0xFFFD || is_control(c))) return;
      if (clean && is_white_space(c)) {
        out += ' ';
      } else if (pad_ideographs && is_ideograph(c)) {
        ((out += ' ') += bytes) += ' ';
      } else {
        out += bytes;
      }
    });
    if (strip_accents)
      out = filter(to_normal_form(out, NormalForm::nfd),
                   [](char32_t c) { return !is_nonspacing_mark(c); });
    return lower ? to_lower(out) : out;
  }
};

std::optional<NormalForm> normal_form(std::string_view type) {
  if (type == "NFC") return NormalForm::nfc;
  if (type == "NFD") return NormalForm::nfd;
  if (type == "NFKC") return NormalForm::nfkc;
  if (type == "NFKD") return NormalForm::nfkd;
  return std::nullopt;
}

}  // namespace

Result<Normalizer::Step> Normalizer::make_step(std::string_view type, const Json& json,
                                               std::string_view origin) {
  const PartPlace place{origin, "normalizer"};
  if (const auto form = normal_form(type))
    return Step([form](std::string_view text) { return to_normal_form(text, *form); });
  if (type == "Lowercase") return Step(to_lower);
  if (type == "Nmt") return Step(nmt);
  if (type == "ByteLevel") return Step(to_byte_level);
  if (type == "StripAccents")
    return Step(
        [](std::string_view text) { return filter(text, [](char32_t c) { return !is_mark(c); }); });
  if (type == "Strip") {
    const bool left = part_flag(json, "strip_left", true);
    const bool right = part_flag(json, "strip_right", true);
    return Step([=](std::string_view text) { return strip(text, left, right); });
  }
  if (type == "Prepend")
    return Step([content = part_text(json, "prepend")](std::string_view text) {
      return text.empty() ? std::string() : content + std::string(text);
    });
  if (type == "Replace") {
    FATHOM_ASSIGN(TextPattern pattern, TextPattern::from_json(json, place));
    return Step([pattern = std::move(pattern), content = part_text(json, "content")](
                    std::string_view text) { return pattern.replace(text, content); });
  }
  if (type == "Precompiled") {
    FATHOM_ASSIGN(Charsmap map,
                  Charsmap::from_base64(part_text(json, "precompiled_charsmap"), place));
    return Step([map = std::make_shared<const Charsmap>(std::move(map))](std::string_view text) {
      return map->apply(text);
    });
  }
  if (type == "BertNormalizer") {
    Bert bert{.clean = part_flag(json, "clean_text", true),
              .pad_ideographs = part_flag(json, "handle_chinese_chars", true),
              .lower = part_flag(json, "lowercase", true)};
    bert.strip_accents = part_flag(json, "strip_accents", bert.lower);
    return Step(bert);
  }
  return fail(unsupported_part(
      place, fmt::format("\"{}\"", type),
      "NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, Nmt, Precompiled, "
      "BertNormalizer, ByteLevel, Sequence"));
}

Result<Normalizer> Normalizer::from_json(const Json& json, std::string_view origin) {
  Normalizer normalizer;
  if (json.is_null()) return normalizer;
  FATHOM_ASSIGN(const auto steps, part_steps(json, "normalizers", {origin, "normalizer"}));
  for (const auto& [type, part] : steps) {
    FATHOM_ASSIGN(Step step, make_step(type, *part, origin));
    normalizer.steps_.push_back(std::move(step));
  }
  return normalizer;
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) out = step(out);
  return out;
}

}  // namespace fathom::models
