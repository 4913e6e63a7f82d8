// SPDX-License-Identifier: Apache-2.0
//
// Document: a configuration text as a tree that remembers where everything stood.
//
// Purpose      JSON libraries drop line numbers and duplicate keys; both are needed to tell a user
//              which line to change. parse_document() reads strict JSON, and where a text departs
//              from it in the ways people write by hand (comments, trailing commas, a comma missing
//              at a line end, root braces missing, keys or words without quotes) it goes on and
//              records the departure.
// Ownership    Values.
// Units        Lines and columns count from 1; line 0 means that there is no text behind the tree.
//
//   FATHOM_ASSIGN(Document document, parse_document(text, "ds_config.json"));
//   if (const Node* node = document.root.find("bf16")) use(node->at.line);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.hpp"

namespace fathom::config {

struct Position {
  std::uint32_t line = 0, column = 0;
};

struct Node {
  enum class Kind : std::uint8_t { null, boolean, integer, number, text, array, object };

  std::string name;  // of a member; empty for elements and the root
  std::string path;  // as written: "zero_optimization.aio.thread_count", "betas[1]"
  Position at;       // of the member's name, or of an element
  Kind kind = Kind::null;
  bool boolean = false;
  std::int64_t integer = 0;
  double number = 0;  // also set for integers
  std::string text;
  std::vector<Node> children;  // of arrays and objects, in the order of the text

  const Node* find(std::string_view child) const;
  Node* find(std::string_view child);
  bool remove(std::string_view child);  // false when there is none
  bool is(Kind wanted) const { return kind == wanted; }
};

// The value as a person would write it, shortened; for messages.
std::string describe(const Node& node);

// Something about the text itself: where, on which key, and what.
struct Remark {
  Position at;
  std::string path;
  std::string text;
};

struct Document {
  std::string origin;              // file name, "standard input", …: what messages begin with
  Node root;                       // an object
  std::vector<Remark> departures;  // from strict JSON, the first of each kind
  std::vector<Remark> problems;    // duplicate keys, numbers that overflow; the tree goes on
};

// Errors (bad_config): text that cannot be read as an object in either form, with line and column.
Result<Document> parse_document(std::string_view text, std::string_view origin);

// The same tree from an object in memory; positions are 0.
Result<Document> document_from_json(const nlohmann::json& object, std::string_view origin);

}  // namespace fathom::config
