// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer.hpp"

#include <limits>
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/random.hpp"
#include "fixtures.hpp"
#include "models/utf8.hpp"

namespace fathom::models {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<TokenId>;

// A small tokenizer of Llama 2's layout: 3 special tokens, 256 bytes, letters, merges.
Json small_tokenizer(const std::vector<std::pair<std::string, std::string>>& merges) {
  Json vocab = Json::object();
  TokenId next = 0;
  const auto add = [&](const std::string& piece) {
    if (!vocab.contains(piece)) vocab[piece] = next++;
  };
  for (const char* special : {"<unk>", "<s>", "</s>"}) add(special);
  for (int byte = 0; byte < 256; ++byte) {
    char piece[8];
    std::snprintf(piece, sizeof piece, "<0x%02X>", byte);
    add(piece);
  }
  add("▁");
  for (char c = 'a'; c <= 'f'; ++c) add(std::string(1, c));
  Json list = Json::array();
  for (const auto& [left, right] : merges) {
    add(left + right);
    list.push_back(left + " " + right);
  }
  Json added = Json::array();
  for (const auto& [id, content] :
       {std::pair(0, "<unk>"), std::pair(1, "<s>"), std::pair(2, "</s>")}) {
    added.push_back({{"id", id},
                     {"content", content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  return {{"added_tokens", added},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Prepend"}, {"prepend", "▁"}},
              {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}}}},
          {"pre_tokenizer", nullptr},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single",
             {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
            {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}}},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}},
              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"ignore_merges", false},
            {"vocab", vocab},
            {"merges", list}}}};
}

const std::vector<std::pair<std::string, std::string>> small_merges = {
    {"a", "b"}, {"▁", "a"}, {"ab", "ab"}, {"b", "c"}, {"▁a", "b"},
    {"c", "d"}, {"d", "d"}, {"bc", "d"},  {"▁", "▁"}, {"e", "▁"}};

Tokenizer parse(const Json& json) {
  auto tokenizer = Tokenizer::parse(json.dump(), "tokenizer.json");
  EXPECT_TRUE(tokenizer) << tokenizer.error().message();
  return std::move(*tokenizer);
}

std::string refusal(const Json& json) {
  const auto tokenizer = Tokenizer::parse(json.dump(), "tokenizer.json");
  return tokenizer ? std::string("accepted") : tokenizer.error().message();
}

// The definition of BPE, without any cleverness: merge the best pair until none is left.
Ids merge_naively(const Json& json, const std::string& normal) {
  const Json& vocab = json["model"]["vocab"];
  std::map<std::pair<std::string, std::string>, std::size_t> ranks;
  for (const Json& entry : json["model"]["merges"]) {
    const std::string text = entry.get<std::string>();
    const std::size_t space = text.find(' ');
    ranks.emplace(std::pair(text.substr(0, space), text.substr(space + 1)), ranks.size());
  }
  std::vector<std::string> symbols;
  for (std::size_t at = 0; at < normal.size();) {
    const std::size_t length = utf8_unit(normal, at).length;
    const std::string character = normal.substr(at, length);
    if (vocab.contains(character)) {
      symbols.push_back(character);
    } else {
      for (const char c : character) {
        char piece[8];
        std::snprintf(piece, sizeof piece, "<0x%02X>", static_cast<unsigned char>(c));
        symbols.emplace_back(piece);
      }
    }
    at += length;
  }
  while (true) {
    std::size_t best = std::numeric_limits<std::size_t>::max(), where = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto rank = ranks.find({symbols[i], symbols[i + 1]});
      if (rank != ranks.end() && rank->second < best) {
        best = rank->second;
        where = i;
      }
    }
    if (best == std::numeric_limits<std::size_t>::max()) break;
    symbols[where] += symbols[where + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
  Ids ids;
  for (const std::string& symbol : symbols) ids.push_back(vocab[symbol].get<TokenId>());
  return ids;
}

TEST(Tokenizer, MergesAsTheDefinitionSays) {
  const Json json = small_tokenizer(small_merges);
  const Tokenizer tokenizer = parse(json);
  const CounterRandom random(3, "tokenizer test");
  const std::vector<std::string> letters = {"a", "b", "c", "d",  "e",  "f",
                                            " ", "é", "z", "ab", "bcd"};
  std::uint64_t counter = 0;
  for (int round = 0; round < 500; ++round) {
    std::string text;
    const std::uint32_t length = random.bits(counter++) % 40;
    for (std::uint32_t i = 0; i < length; ++i)
      text += letters[random.bits(counter++) % letters.size()];
    std::string normal = text.empty() ? "" : "▁" + text;
    for (std::size_t at; (at = normal.find(' ')) != std::string::npos;) normal.replace(at, 1, "▁");
    EXPECT_EQ(tokenizer.encode(text, false), merge_naively(json, normal)) << text;
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, true), true), text);
  }
}

TEST(Tokenizer, CutsOutSpecialTokensAndMarksEachSegment) {
  const Json json = small_tokenizer(small_merges);
  const Tokenizer tokenizer = parse(json);
  const TokenId marked_a = json["model"]["vocab"]["▁a"].get<TokenId>();
  EXPECT_EQ(tokenizer.encode("a<s>a", false), (Ids{marked_a, 1, marked_a}));
  EXPECT_EQ(tokenizer.encode("a", true), (Ids{1, marked_a}));
  EXPECT_EQ(tokenizer.encode("", false), Ids{});
  EXPECT_EQ(tokenizer.encode("", true), Ids{1});
  EXPECT_EQ(tokenizer.decode(Ids{1, marked_a, 2}, true), "a");
  EXPECT_EQ(tokenizer.decode(Ids{1, marked_a, 2}, false), "<s> a</s>");
  EXPECT_EQ(tokenizer.decode(Ids{marked_a, 9999}, true), "a") << "unknown ids are left out";
}

TEST(Tokenizer, AddedTokensPreferTheLongestAndMaySwallowSpaces) {
  Json json = small_tokenizer({});
  const TokenId next = static_cast<TokenId>(json["model"]["vocab"].size());
  const auto add = [&](TokenId id, const char* content, bool left, bool right, bool normalized) {
    json["added_tokens"].push_back({{"id", id},
                                    {"content", content},
                                    {"lstrip", left},
                                    {"rstrip", right},
                                    {"normalized", normalized},
                                    {"special", false}});
  };
  add(next, "<x>", false, false, false);
  add(next + 1, "<x><x>", false, false, false);
  add(next + 2, "<m>", true, true, false);
  add(next + 3, "cd", false, false, true);  // found in normalised text as "▁cd"
  const Tokenizer tokenizer = parse(json);
  EXPECT_EQ(tokenizer.vocabulary(), next + 4);
  EXPECT_EQ(tokenizer.encode("<x><x><x>", false), (Ids{next + 1, next}));
  const TokenId mark = json["model"]["vocab"]["▁"].get<TokenId>();
  const TokenId a = json["model"]["vocab"]["a"].get<TokenId>();
  EXPECT_EQ(tokenizer.encode("a \xC2\xA0\t<m>\n a", false), (Ids{mark, a, next + 2, mark, a}));
  EXPECT_EQ(tokenizer.encode("cd", false), Ids{next + 3});
  EXPECT_EQ(tokenizer.encode("a cd", false), (Ids{mark, a, next + 3}));
}

TEST(Tokenizer, MetaspaceMarksAndSplitsWords) {
  Json json = small_tokenizer(small_merges);
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", true}};
  json["decoder"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}};
  const Tokenizer tokenizer = parse(json);
  const auto id = [&](const char* piece) { return json["model"]["vocab"][piece].get<TokenId>(); };
  // "e▁" is a merge, but not across words.
  EXPECT_EQ(tokenizer.encode("e f", false), (Ids{id("▁"), id("e"), id("▁"), id("f")}));
  EXPECT_EQ(tokenizer.encode("a<s>a", false), (Ids{id("▁a"), 1, id("a")})) << "only the first";
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("e a", false), true), "e a");
  json["pre_tokenizer"]["split"] = false;
  EXPECT_EQ(parse(json).encode("e f", false), (Ids{id("▁"), id("e▁"), id("f")}));
  json["pre_tokenizer"]["prepend_scheme"] = "always";
  EXPECT_EQ(parse(json).encode("a<s>a", false), (Ids{id("▁a"), 1, id("▁a")}));
}

TEST(Tokenizer, IgnoreMergesTakesAWholeWordFromTheVocabulary) {
  Json json = small_tokenizer({{"a", "b"}});
  json["model"]["vocab"]["▁abc"] = json["model"]["vocab"].size();
  const TokenId whole = json["model"]["vocab"]["▁abc"].get<TokenId>();
  EXPECT_NE(parse(json).encode("abc", false), Ids{whole});
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(parse(json).encode("abc", false), Ids{whole});
}

TEST(Tokenizer, UnknownCharactersFuseWhenAsked) {
  Json json = small_tokenizer({});
  json["model"]["byte_fallback"] = false;
  const TokenId a = json["model"]["vocab"]["a"].get<TokenId>();
  const TokenId mark = json["model"]["vocab"]["▁"].get<TokenId>();
  EXPECT_EQ(parse(json).encode("éza", false), (Ids{mark, 0, a}));
  json["model"]["fuse_unk"] = false;
  EXPECT_EQ(parse(json).encode("éza", false), (Ids{mark, 0, 0, a}));
  json["model"]["unk_token"] = nullptr;
  EXPECT_EQ(parse(json).encode("éza", false), (Ids{mark, a}));
}

TEST(Tokenizer, IllFormedTextBecomesReplacementCharacters) {
  const Tokenizer tokenizer = parse(small_tokenizer(small_merges));
  EXPECT_EQ(tokenizer.encode("a\xFF"
                             "b\xE2\x82",
                             false),
            tokenizer.encode("a\xEF\xBF\xBD"
                             "b\xEF\xBF\xBD",
                             false));
}

TEST(Utf8, RepairsEachIllFormedSequenceOnce) {
  const std::string r(replacement_character);
  EXPECT_EQ(valid_utf8("plain é 株 😀"), "plain é 株 😀");
  EXPECT_EQ(valid_utf8("\xC0\x80"), r + r) << "overlong";
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), r + r + r) << "surrogate";
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), r + r + r + r) << "beyond U+10FFFF";
  EXPECT_EQ(valid_utf8("\xF0\x9F\x98"), r) << "cut off";
  EXPECT_EQ(valid_utf8("\xF0\x9F\x98x"), r + "x");
  EXPECT_EQ(valid_utf8("\x80"), r);
  EXPECT_FALSE(is_valid_utf8("a\x80"));
}

TEST(Tokenizer, RefusesByNameWhatItDoesNotCompute) {
  const auto with = [](const Json& path_value) {
    Json json = small_tokenizer({});
    json.merge_patch(path_value);
    return refusal(json);
  };
  EXPECT_NE(with({{"model", {{"type", "WordPiece"}}}}).find("WordPiece"), std::string::npos);
  EXPECT_NE(with({{"model", {{"end_of_word_suffix", "</w>"}}}}).find("</w>"), std::string::npos);
  EXPECT_NE(with({{"pre_tokenizer", {{"type", "UnicodeScripts"}}}}).find("UnicodeScripts"),
            std::string::npos);
  EXPECT_NE(with({{"normalizer", {{"type", "NFKX"}, {"normalizers", nullptr}}}}).find("NFKX"),
            std::string::npos);
  EXPECT_NE(with({{"decoder", {{"type", "WordPiece"}}}}).find("WordPiece"), std::string::npos);
  EXPECT_NE(with({{"post_processor", {{"type", "PairProcessing"}}}}).find("PairProcessing"),
            std::string::npos);
}

TEST(Tokenizer, DropoutIsIgnored) {
  Json json = small_tokenizer(small_merges);
  json["model"]["dropout"] = 0.5;
  EXPECT_EQ(parse(json).encode("abab", false),
            parse(small_tokenizer(small_merges)).encode("abab", false));
}

TEST(Tokenizer, PatternsThatPcre2WouldReadDifferentlyAreRefusedByName) {
  const auto with = [](const char* pattern) {
    Json json = small_tokenizer({});
    json["pre_tokenizer"] = {
        {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
    return refusal(json);
  };
  EXPECT_EQ(with(R"([^\s\p{L}[.,!]]++(?i:ab)(?=c)\h)"), "accepted");
  EXPECT_NE(with("[a-z&&[aeiou]]").find("intersection"), std::string::npos);
  EXPECT_NE(with("[a[^b]]").find("negated class in a class"), std::string::npos);
  EXPECT_NE(with("a{1,3}+").find("behind an interval"), std::string::npos);
  EXPECT_NE(with("(a").find("tokenizer.json"), std::string::npos);
}

TEST(Tokenizer, RefusesMalformedFiles) {
  Json json = small_tokenizer({});
  json["model"]["merges"] = {"a zz"};
  EXPECT_NE(refusal(json).find("merge 0"), std::string::npos);
  json["model"]["merges"] = {"a b c"};
  EXPECT_NE(refusal(json).find("merge 0"), std::string::npos);
  json = small_tokenizer({});
  json["model"]["vocab"]["a"] = -1;
  EXPECT_NE(refusal(json).find("token id"), std::string::npos);
  json = small_tokenizer({});
  json["model"]["vocab"]["a"] = json["model"]["vocab"]["b"];
  EXPECT_NE(refusal(json).find("same id"), std::string::npos);
  json = small_tokenizer({});
  json["model"]["unk_token"] = "<nope>";
  EXPECT_NE(refusal(json).find("unk_token"), std::string::npos);
  json = small_tokenizer({});
  json["post_processor"]["special_tokens"] = Json::object();
  EXPECT_NE(refusal(json).find("not defined"), std::string::npos);
  EXPECT_NE(refusal(Json::object()).find("no model"), std::string::npos);
  EXPECT_NE(refusal(Json::array()).find("no model"), std::string::npos);
}

TEST(Tokenizer, WithoutATokenizerFileIdsAreBytes) {
  const TemporaryDirectory directory;
  const auto tokenizer = Tokenizer::load(directory.path());
  ASSERT_TRUE(tokenizer);
  EXPECT_TRUE(tokenizer->is_bytes());
  EXPECT_EQ(tokenizer->vocabulary(), 256U);
  EXPECT_EQ(tokenizer->encode("a\xFF", true), (Ids{97, 255}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("é株", true), true), "é株");
  directory.write("vocab.json", "{}");
  const auto other = Tokenizer::load(directory.path());
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message().find("vocab.json"), std::string::npos);
}

TEST(Tokenizer, StreamedTextEqualsTheWholeAndIsAlwaysWellFormed) {
  const Json json = small_tokenizer(small_merges);
  const Tokenizer bpe = parse(json), bytes = Tokenizer::bytes();
  const std::string text = "ab é 株😀  cd\xC2\xA0 dd ";
  for (const Tokenizer* tokenizer : {&bpe, &bytes}) {
    const Ids ids = tokenizer->encode(text, true);
    for (std::size_t context = 0; context < 2; ++context) {
      const auto head = std::span(ids).first(context);
      StreamDecoder stream(*tokenizer, head);
      std::string all = tokenizer->decode(head, true);
      for (const TokenId id : std::span(ids).subspan(context)) {
        const std::string piece = stream.push(id);
        EXPECT_TRUE(is_valid_utf8(piece));
        EXPECT_EQ(piece.find(replacement_character), std::string::npos);
        all += piece;
      }
      all += stream.finish();
      EXPECT_EQ(all, text);
    }
  }
}

TEST(Tokenizer, AStreamShowsACharacterThatStaysIncomplete) {
  const Tokenizer bytes = Tokenizer::bytes();
  StreamDecoder stream(bytes, {});
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push(0xF0), "");
  EXPECT_EQ(stream.push(0x9F), "");
  EXPECT_EQ(stream.finish(), replacement_character);
  StreamDecoder broken(bytes, {});
  std::string all;
  for (int i = 0; i < 100; ++i) all += broken.push(0xFF);
  EXPECT_GE(all.size(), 80 * replacement_character.size()) << "it does not wait for ever";
}

TEST(Tokenizer, ALongTextWithoutAnyCutStaysFast) {
  // Quadratic merging of 400,000 symbols in one run would need hours.
  const Json json = small_tokenizer({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}});
  const Tokenizer tokenizer = parse(json);
  const Ids ids = tokenizer.encode(std::string(400'000, 'a'), false);
  EXPECT_EQ(ids.size(), 1U + 400'000U / 8U);
}

class TinyStories : public testing::Test {
 protected:
  static std::filesystem::path path() { return shared_path() / "models/tinystories-260k"; }
};

TEST_F(TinyStories, EveryReferenceCaseHasItsIdsAndDecodesBack) {
  FATHOM_NEEDS_SHARED("models/tinystories-260k/tokenizer_cases.json");
  const auto tokenizer = Tokenizer::load(path());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message();
  EXPECT_EQ(tokenizer->vocabulary(), 512U);
  const Json cases = Json::parse(read_all(path() / "tokenizer_cases.json"));
  ASSERT_GT(cases.size(), 300U);
  for (const Json& entry : cases) {
    const std::string text = entry["text"].get<std::string>();
    const Ids ids = entry["ids"].get<Ids>();
    EXPECT_EQ(tokenizer->encode(text, false), ids) << text;
    EXPECT_EQ(tokenizer->decode(ids, true), text);
    StreamDecoder stream(*tokenizer, {});
    std::string all;
    for (const TokenId id : ids) all += stream.push(id);
    EXPECT_EQ(all + stream.finish(), text);
  }
}

TEST_F(TinyStories, SpecialTokensInTextAreCutOut) {
  FATHOM_NEEDS_SHARED("models/tinystories-260k/tokenizer.json");
  const auto tokenizer = Tokenizer::load(path());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->encode("a<s>b", true), (Ids{1, 261, 1, 268}));
}

TEST_F(TinyStories, ALargeTextIsTheSameInPiecesAndDecodesBack) {
  FATHOM_NEEDS_SHARED("data/tinyshakespeare.txt");
  FATHOM_NEEDS_SHARED("models/tinystories-260k/tokenizer.json");
  const auto tokenizer = Tokenizer::load(path());
  ASSERT_TRUE(tokenizer);
  const std::string text = read_all(shared_path() / "data/tinyshakespeare.txt");
  const Ids ids = tokenizer->encode(text, false);
  EXPECT_GT(ids.size(), text.size() / 4);
  EXPECT_EQ(tokenizer->decode(ids, true), text);
}

}  // namespace
}  // namespace fathom::models
