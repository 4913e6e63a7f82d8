// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "config/document.hpp"
#include "config/utf8.hpp"
#include "tests/config/support.hpp"

namespace fathom::config {
namespace {

Document must_parse(std::string_view text) {
  auto document = parse_document(text, "x.json");
  EXPECT_TRUE(document) << text << "\n" << (document ? "" : document.error().message());
  return document ? *std::move(document) : Document{};
}

TEST(Parse, StrictJsonPassesWithoutADeparture) {
  const Document document = must_parse(R"(
    {"a": [1, -2.5e3, true, false, null, "x\né😀\/"], "b": {"c": {}}, "d": []}
  )");
  EXPECT_TRUE(document.departures.empty());
  EXPECT_TRUE(document.problems.empty());
  const Node& list = *document.root.find("a");
  ASSERT_EQ(list.children.size(), 6U);
  EXPECT_EQ(list.children[0].integer, 1);
  EXPECT_EQ(list.children[1].number, -2500.0);
  EXPECT_TRUE(list.children[2].boolean);
  EXPECT_TRUE(list.children[4].is(Node::Kind::null));
  EXPECT_EQ(list.children[5].text, "x\n\xC3\xA9\xF0\x9F\x98\x80/");
  EXPECT_EQ(document.root.find("b")->find("c")->path, "b.c");
  EXPECT_EQ(list.children[1].path, "a[1]");
}

TEST(Parse, RemembersLinesAndColumns) {
  const Document document = must_parse("{\n  \"a\": 1,\n  \"b\": {\n \"c\": 2}}");
  EXPECT_EQ(document.root.find("a")->at.line, 2U);
  EXPECT_EQ(document.root.find("a")->at.column, 3U);
  EXPECT_EQ(document.root.find("b")->find("c")->at.line, 4U);
}

struct Lenient {
  const char* text;
  const char* departure;
  std::uint32_t line, column;
};

TEST(Parse, TakesTheFormPeopleWriteAndSaysWhere) {
  const Lenient rows[] = {
      {"{\"a\": 1,}", "trailing comma", 1, 8},
      {"{\"a\": 1},\n", "trailing comma", 1, 9},
      {"{\"a\": [1, 2,],\n\"b\": 3}", "trailing comma", 1, 12},
      {"{\"a\": 1\n \"b\": 2}", "missing comma", 1, 8},
      {"\"a\": 1", "root braces missing", 1, 1},
      {"a: 1\nb: 2\n", "root braces missing", 1, 1},
      {"{a: 1}", "unquoted key", 1, 2},
      {"{\"a\": cpu}", "unquoted value", 1, 7},
      {"{'a': 1}", "single quotes", 1, 2},
      {"{\n// why\n\"a\": 1}", "comment", 2, 1},
      {"{\n # why\n\"a\": 1}", "comment", 2, 2},
      {"{\"a\": /* why\n */ 1}", "comment", 1, 7},
  };
  for (const Lenient& row : rows) {
    SCOPED_TRACE(row.text);
    const Document document = must_parse(row.text);
    EXPECT_NE(document.root.find("a"), nullptr);
    const auto found =
        std::ranges::find(document.departures, std::string(row.departure), &Remark::path);
    ASSERT_NE(found, document.departures.end());
    EXPECT_EQ(found->at.line, row.line);
    EXPECT_EQ(found->at.column, row.column);
  }
}

TEST(Parse, EachDepartureIsSaidOnce) {
  EXPECT_EQ(must_parse("{\"a\": [1,], \"b\": [2,],}").departures.size(), 1U);
}

TEST(Parse, TextThatIsWrongInBothFormsIsAnErrorWithItsPlace) {
  const std::pair<const char*, const char*> rows[] = {
      {"", "x.json:1:1"},
      {"   \n ", "empty"},
      {"[1]", "begins with {"},
      {"42", "begins with {"},
      {"{\"a\": 1", "ends where"},
      {"{\"a\": [1, 2", "ends where"},
      {"{\"a\" 1}", "colon"},
      {"{\"a\": 1 \"b\": 2}", "x.json:1:9"},
      {"{\"a\": 1 \"b\": 2}", "comma is expected"},
      {"{\"a\": }", "value is expected"},
      {"{\"a\": 1} x", "follows the closing brace"},
      {"{\"a\": \"x", "inside a string"},
      {"{\"a\": \"x\ny\"}", "own line"},
      {"{\"a\": \"\\q\"}", "escape"},
      {"{\"a\": \"\\u12\"}", "hexadecimal"},
      {"{\"a\": \"\\ud800\"}", "surrogate"},
      {"{\"a\": 1\n]", "closes nothing"},
      {"{,}", "key is expected"},
      {"{\"a\": 1,,}", "key is expected"},
      {"{\"a\": \"\xFF\"}", "UTF-8"},
      {"{\"a\": /* never closed", "x.json"},
  };
  for (const auto& [text, part] : rows) {
    const auto document = parse_document(text, "x.json");
    ASSERT_FALSE(document) << text;
    EXPECT_EQ(document.error().code(), Errc::bad_config);
    EXPECT_SAYS(document.error().message(), part);
  }
}

TEST(Parse, DeepNestingIsRefusedInsteadOfOverflowingTheStack) {
  const auto document = parse_document(
      "{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}", "x.json");
  ASSERT_FALSE(document);
  EXPECT_SAYS(document.error().message(), "64 levels");
}

TEST(Parse, EveryPrefixOfATextEndsInAResult) {
  const std::string text =
      "{\"a\": [1, 2.5e3, \"x\\u00e9\"], /* c */ b: {'c': cpu,}\n \"d\": null} ,";
  for (std::size_t length = 0; length < text.size(); ++length) {
    const auto document = parse_document(text.substr(0, length), "x.json");
    // Only a text without its final comma, or with spaces instead, is complete.
    EXPECT_EQ(document.has_value(), length >= text.find("} ,") + 1) << length;
  }
}

TEST(Parse, DuplicateKeysAreProblemsWithBothLines) {
  const Document document = must_parse("{\"a\": {\"x\": 1,\n\"x\": 2},\n\"a\": 3}");
  ASSERT_EQ(document.problems.size(), 2U);
  EXPECT_EQ(document.problems[0].path, "a.x");
  EXPECT_EQ(document.problems[0].at.line, 2U);
  EXPECT_SAYS(document.problems[0].text, "first in line 1");
  EXPECT_EQ(document.problems[1].path, "a");
}

TEST(Parse, NumbersOutOfRangeAreProblems) {
  const Document document = must_parse("{\"a\": 1e999, \"b\": -1e999, \"c\": 1e308}");
  ASSERT_EQ(document.problems.size(), 2U);
  EXPECT_SAYS(document.problems[0].text, "1e999");
}

TEST(Parse, WhatIsNotANumberInJsonIsAText) {
  for (const char* word :
       {"007", ".5", "1.", "+1", "0x10", "NaN", "Infinity", "-Infinity", "1e", "-"}) {
    const Document document = must_parse(std::string("{\"a\": ") + word + "}");
    EXPECT_TRUE(document.root.find("a")->is(Node::Kind::text)) << word;
  }
}

TEST(Parse, AByteOrderMarkIsSkipped) {
  EXPECT_NE(must_parse("\xEF\xBB\xBF{\"a\": 1}").root.find("a"), nullptr);
}

TEST(Utf8, RejectsOverlongTruncatedAndSurrogateForms) {
  for (const char* good : {"", "a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"})
    EXPECT_TRUE(valid_utf8(good)) << good;
  for (const char* bad : {"\xC0\x80", "\xC3", "\xE2\x82", "\x80", "\xED\xA0\x80",
                          "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xC3(", "\xE0\x80\xAF"})
    EXPECT_FALSE(valid_utf8(bad));
  for (const std::uint32_t code : {0x24U, 0xE9U, 0x20ACU, 0x1F600U}) {
    std::string text;
    append_utf8(code, text);
    EXPECT_TRUE(valid_utf8(text));
  }
}

TEST(FromJson, GivesTheSameTreeAsTheText) {
  const char* text = R"({"a": [1, 2.5, "x", null], "b": {"c": true}})";
  const auto document = document_from_json(nlohmann::json::parse(text), "object");
  ASSERT_TRUE(document);
  EXPECT_EQ(document->root.find("a")->children[1].number, 2.5);
  EXPECT_EQ(document->root.find("b")->find("c")->path, "b.c");
  EXPECT_EQ(document->root.find("a")->at.line, 0U);
}

TEST(FromJson, RefusesWhatIsNotAnObjectOfFiniteValues) {
  EXPECT_FALSE(document_from_json(nlohmann::json::array({1}), "object"));
  EXPECT_FALSE(document_from_json(nlohmann::json{{"a", nlohmann::json::binary({1})}}, "object"));
  const auto document =
      document_from_json({{"a", std::numeric_limits<double>::quiet_NaN()}}, "object");
  ASSERT_TRUE(document);
  EXPECT_EQ(document->problems.size(), 1U);
}

}  // namespace
}  // namespace fathom::config
