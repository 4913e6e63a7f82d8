// SPDX-License-Identifier: Apache-2.0
#include "models/pre_tokenizer.hpp"

#include <cstddef>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/byte_level.hpp"
#include "models/split_behavior.hpp"
#include "models/text_pattern.hpp"
#include "models/tokenizer_part.hpp"
#include "models/unicode.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;
constexpr const char* part = "pre_tokenizer";

// GPT-2's words: contractions, letters, numbers or other signs with one space in front, spaces.
constexpr std::string_view gpt2_words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Gives a splitter the text's characters one by one, or the runs of other characters between them.
template <class F>
void push_characters(std::string_view text, Splitter& splitter, F&& is_delimiter) {
  std::size_t begin = 0, at = 0;
  each_character(text, [&](std::string_view bytes, char32_t c) {
    if (is_delimiter(c)) {
      if (at > begin) splitter.push(text.substr(begin, at - begin), false);
      splitter.push(bytes, true);
      begin = at + bytes.size();
    }
    at += bytes.size();
  });
  if (at > begin) splitter.push(text.substr(begin, at - begin), false);
}

}  // namespace

Result<PreTokenizer::Step> PreTokenizer::make_split(const Json& json, std::string_view origin) {
  const PartPlace place{origin, part};
  FATHOM_ASSIGN(TextPattern pattern, TextPattern::from_json(json, place));
  const auto behavior = split_behavior(part_text(json, "behavior"));
  if (!behavior) return fail(malformed_part(place, "Split has no behavior"));
  return Step([pattern = std::move(pattern), behavior = *behavior,
               invert = part_flag(json, "invert", false)](Piece piece, const Emit& emit) {
    Splitter splitter(behavior, [&](std::string_view text) {
      emit({text, piece.first && text.data() == piece.text.data()});
    });
    pattern.split(piece.text, [&](std::string_view text, bool matched) {
      splitter.push(text, matched != invert);
    });
    splitter.finish();
  });
}

Result<PreTokenizer::Step> PreTokenizer::make_metaspace(const Json& json, std::string_view origin) {
  const PartPlace place{origin, part};
  const std::string mark = part_text(json, "replacement");
  if (mark.empty()) return fail(malformed_part(place, "Metaspace has no replacement"));
  // Older files say add_prefix_space, newer ones prepend_scheme.
  std::string scheme = part_flag(json, "add_prefix_space", true) ? "always" : "never";
  if (json.contains("prepend_scheme")) scheme = part_text(json, "prepend_scheme");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    return fail(malformed_part(place, "prepend_scheme is none of always, first, never"));
  const bool always = scheme == "always", sometimes = scheme == "first";
  return Step([mark, always, sometimes, split = part_flag(json, "split", true)](Piece piece,
                                                                                const Emit& emit) {
    std::string marked = TextPattern(std::string(" ")).replace(piece.text, mark);
    if ((always || (sometimes && piece.first)) && !marked.starts_with(mark)) marked.insert(0, mark);
    if (!split) return emit({marked, piece.first});
    Splitter splitter(SplitBehavior::merged_with_next, [&](std::string_view word) {
      emit({word, piece.first && word.data() == marked.data()});
    });
    TextPattern(mark).split(
        marked, [&](std::string_view text, bool matched) { splitter.push(text, matched); });
    splitter.finish();
  });
}

Result<PreTokenizer::Step> PreTokenizer::make_step(std::string_view type, const Json& json,
                                                   std::string_view origin) {
  const PartPlace place{origin, part};
  const auto cut = [](auto is_delimiter, SplitBehavior behavior) {
    return Step([=](Piece piece, const Emit& emit) {
      Splitter splitter(behavior, [&](std::string_view text) {
        emit({text, piece.first && text.data() == piece.text.data()});
      });
      push_characters(piece.text, splitter, is_delimiter);
      splitter.finish();
    });
  };
  if (type == "Split") return make_split(json, origin);
  if (type == "Metaspace") return make_metaspace(json, origin);
  if (type == "ByteLevel") {
    auto words = Regex::compile(gpt2_words);
    if (!words) return fail(std::move(words.error()));
    return Step([words = TextPattern(std::move(*words)),
                 prefix = part_flag(json, "add_prefix_space", true),
                 split = part_flag(json, "use_regex", true)](Piece piece, const Emit& emit) {
      std::string spaced;
      if (prefix && !piece.text.starts_with(' ')) {
        spaced = " ";
        spaced += piece.text;
        piece.text = spaced;
      }
      if (!split) return emit({to_byte_level(piece.text), piece.first});
      words.split(piece.text, [&](std::string_view word, bool) {
        if (!word.empty())
          emit({to_byte_level(word), piece.first && word.data() == piece.text.data()});
      });
    });
  }
  if (type == "Digits")
    return cut(is_numeric, part_flag(json, "individual_digits", false) ? SplitBehavior::isolated
                                                                       : SplitBehavior::contiguous);
  if (type == "Punctuation") {
    const auto behavior = json.contains("behavior") ? split_behavior(part_text(json, "behavior"))
                                                    : SplitBehavior::isolated;
    if (!behavior) return fail(malformed_part(place, "Punctuation has an unknown behavior"));
    return cut(is_punctuation, *behavior);
  }
  if (type == "WhitespaceSplit") return cut(is_white_space, SplitBehavior::removed);
  if (type == "CharDelimiterSplit") {
    const std::string delimiter = part_text(json, "delimiter");
    if (delimiter.empty())
      return fail(malformed_part(place, "CharDelimiterSplit has no delimiter"));
    return cut([wanted = first_character(delimiter)](char32_t c) { return c == wanted; },
               SplitBehavior::removed);
  }
  if (type == "Whitespace")  // runs of word characters, runs of other signs
    return Step([](Piece piece, const Emit& emit) {
      std::size_t begin = 0, at = 0;
      int last = 0;
      const auto flush = [&] {
        if (last != 0 && at > begin)
          emit({piece.text.substr(begin, at - begin), piece.first && begin == 0});
        begin = at;
      };
      each_character(piece.text, [&](std::string_view bytes, char32_t c) {
        const int kind = is_word(c) ? 1 : is_white_space(c) ? 0 : 2;
        if (kind != last) flush();
        last = kind;
        at += bytes.size();
      });
      flush();
    });
  if (type == "BertPreTokenizer")
    return Step([](Piece piece, const Emit& emit) {
      Splitter signs(SplitBehavior::isolated, [&](std::string_view text) {
        emit({text, piece.first && text.data() == piece.text.data()});
      });
      Splitter words(SplitBehavior::removed, [&](std::string_view word) {
        push_characters(word, signs, is_punctuation);
        signs.finish();
      });
      push_characters(piece.text, words, is_white_space);
      words.finish();
    });
  return fail(unsupported_part(
      place, fmt::format("\"{}\"", type),
      "null, ByteLevel, Split, Digits, Whitespace, WhitespaceSplit, Punctuation, Metaspace, "
      "BertPreTokenizer, CharDelimiterSplit, Sequence"));
}

Result<PreTokenizer> PreTokenizer::from_json(const Json& json, std::string_view origin) {
  PreTokenizer made;
  if (json.is_null()) return made;
  FATHOM_ASSIGN(const auto steps, part_steps(json, "pretokenizers", {origin, part}));
  for (const auto& [type, step] : steps) {
    FATHOM_ASSIGN(Step next, make_step(type, *step, origin));
    made.steps_.push_back(std::move(next));
  }
  return made;
}

void PreTokenizer::run(std::size_t step, Piece piece, const Sink& sink) const {
  if (piece.text.empty()) return;
  if (step == steps_.size()) return sink(piece.text);
  steps_[step](piece, [&](Piece next) { run(step + 1, next, sink); });
}

void PreTokenizer::words(std::string_view text, bool first, const Sink& sink) const {
  run(0, {text, first}, sink);
}

}  // namespace fathom::models
