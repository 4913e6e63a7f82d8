// SPDX-License-Identifier: Apache-2.0
//
// The parser behind parse_document(). One grammar serves both forms: strict JSON passes without a
// departure, and every liberty that a text takes is written down where it is taken. A text that is
// wrong in both forms stops at its first error, since what follows would be guesswork.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "config/document.hpp"
#include "config/utf8.hpp"

namespace fathom::config {
namespace {

constexpr int max_depth = 64;
// Far more than there are keys; keeps the searches for duplicates and near names short.
constexpr std::size_t max_members = 1000;

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '+' || c == '.' || c == '/' || c == '~';
}

// RFC 8259 number grammar; what else from_chars would take ("nan", "0x1", "007") is not a number.
bool is_number(std::string_view word) {
  std::size_t i = 0;
  const auto digits = [&] {
    const std::size_t first = i;
    while (i < word.size() && word[i] >= '0' && word[i] <= '9') ++i;
    return i > first;
  };
  if (i < word.size() && word[i] == '-') ++i;
  if (i < word.size() && word[i] == '0') {
    ++i;
  } else if (!digits()) {
    return false;
  }
  if (i < word.size() && word[i] == '.') {
    ++i;
    if (!digits()) return false;
  }
  if (i < word.size() && (word[i] == 'e' || word[i] == 'E')) {
    ++i;
    if (i < word.size() && (word[i] == '+' || word[i] == '-')) ++i;
    if (!digits()) return false;
  }
  return i == word.size();
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view origin) : text_(text) {
    document_.origin = origin;
    if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
  }

  Result<Document> run() {
    if (!valid_utf8(text_)) {
      error_ = "the text is not UTF-8";
      return failure();
    }
    skip_space();
    Node& root = document_.root;
    root.at = here();
    root.kind = Node::Kind::object;
    bool ok = false;
    if (peek() == '{') {
      ok = parse_value(root, 0);
      if (ok) {
        // The one thing people leave behind the closing brace is a comma.
        skip_space();
        if (peek() == ',') {
          depart("trailing comma", "after the closing brace");
          advance();
          skip_space();
        }
        if (position_ < text_.size()) ok = stop("text follows the closing brace");
      }
    } else if (position_ == text_.size()) {
      ok = stop("the text is empty");
    } else if (peek() == '[' || !looks_like_member()) {
      ok = stop("a configuration is an object: it begins with {");
    } else {
      depart("root braces missing", "the text is read as if it stood between { and }");
      ok = parse_members(root, 0, '\0');
    }
    if (!ok) return failure();
    return std::move(document_);
  }

 private:
  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }
  char peek(std::size_t ahead) const {
    return position_ + ahead < text_.size() ? text_[position_ + ahead] : '\0';
  }
  Position here() const { return {line_, static_cast<std::uint32_t>(position_ - line_start_ + 1)}; }

  void advance() {
    if (text_[position_++] == '\n') {
      ++line_;
      line_start_ = position_;
    }
  }

  bool stop(std::string_view why) {
    if (error_.empty()) {
      error_ = why;
      error_at_ = here();
    }
    return false;
  }

  std::unexpected<Error> failure() const {
    Position at = error_at_;
    return fail(Error(Errc::bad_config, "read the configuration")
                    .on(fmt::format("{}:{}:{}", document_.origin, std::max(1U, at.line),
                                    std::max(1U, at.column)))
                    .because(error_)
                    .remedy("correct the text at this place"));
  }

  void depart(std::string_view kind, std::string_view detail) { depart(kind, detail, here()); }
  void depart(std::string_view kind, std::string_view detail, Position at) {
    if (std::ranges::find(document_.departures, kind, &Remark::path) == document_.departures.end())
      document_.departures.push_back({at, std::string(kind), std::string(detail)});
  }

  // White space and comments. An unclosed block comment ends at the end of the text, where the
  // missing bracket is then reported.
  void skip_space() {
    while (position_ < text_.size()) {
      const char c = peek();
      if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        advance();
      } else if (c == '#' || (c == '/' && peek(1) == '/')) {
        depart("comment", "ignored");
        while (position_ < text_.size() && peek() != '\n') advance();
      } else if (c == '/' && peek(1) == '*') {
        depart("comment", "ignored");
        advance();
        advance();
        while (position_ < text_.size() && !(peek() == '*' && peek(1) == '/')) advance();
        for (int i = 0; i < 2 && position_ < text_.size(); ++i) advance();
      } else {
        return;
      }
    }
  }

  // A quoted or bare word followed by a colon: the beginning of a text without root braces.
  bool looks_like_member() {
    const auto saved = std::tuple(position_, line_, line_start_, document_.departures.size());
    std::string name;
    bool found = parse_name(name);
    if (found) {
      skip_space();
      found = peek() == ':';
    }
    position_ = std::get<0>(saved);
    line_ = std::get<1>(saved);
    line_start_ = std::get<2>(saved);
    document_.departures.resize(std::get<3>(saved));
    error_.clear();
    return found;
  }

  bool parse_name(std::string& name) {
    if (peek() == '"') return parse_string(name);
    if (peek() == '\'') {
      depart("single quotes", "read as double quotes");
      return parse_string(name);
    }
    if (!is_word(peek())) return stop("a key is expected here");
    depart("unquoted key", "read as if it stood in quotes");
    while (is_word(peek())) {
      name += peek();
      advance();
    }
    return true;
  }

  // Members up to `close`, which is consumed; '\0' is the end of the text.
  bool parse_members(Node& node, int depth, char close) {
    for (;;) {
      skip_space();
      if (at_close(close)) return true;
      if (node.children.size() == max_members) return stop("more than 1000 members");
      Node child;
      child.at = here();
      if (!parse_name(child.name)) return false;
      child.path = node.path.empty() ? child.name : node.path + "." + child.name;
      skip_space();
      if (peek() != ':') return stop(fmt::format("a colon is expected after \"{}\"", child.name));
      advance();
      skip_space();
      if (!parse_value(child, depth + 1)) return false;
      if (const Node* first = node.find(child.name)) {
        document_.problems.push_back(
            {child.at, child.path,
             fmt::format("the key stands here for the second time (first in line {}); remove one",
                         first->at.line)});
      } else {
        node.children.push_back(std::move(child));
      }
      if (!parse_separator(close)) return false;
    }
  }

  bool parse_elements(Node& node, int depth) {
    for (;;) {
      skip_space();
      if (at_close(']')) return true;
      if (node.children.size() == max_members) return stop("more than 1000 elements");
      Node& child = node.children.emplace_back();
      child.at = here();
      child.path = fmt::format("{}[{}]", node.path, node.children.size() - 1);
      if (!parse_value(child, depth + 1)) return false;
      if (!parse_separator(']')) return false;
    }
  }

  bool at_close(char close) {
    if (close == '\0') return position_ == text_.size();
    if (peek() != close) return false;
    advance();
    return true;
  }

  // What stands between two members: a comma, or a line end that stands for one.
  bool parse_separator(char close) {
    const Position after_value = here();
    skip_space();
    const bool ends = close == '\0' ? position_ == text_.size() : peek() == close;
    if (ends) return true;
    if (position_ == text_.size())
      return stop(fmt::format("the text ends where '{}' or a comma is expected", close));
    if (peek() == ',') {
      const Position comma = here();
      advance();
      skip_space();
      if (close == '\0' ? position_ == text_.size() : peek() == close)
        depart("trailing comma", "ignored", comma);
      return true;
    }
    if (line_ == after_value.line) return stop("a comma is expected here");
    if (peek() == '}' || peek() == ']') return stop("this bracket closes nothing");
    depart("missing comma", "the line end is read as one", after_value);
    return true;
  }

  bool parse_value(Node& node, int depth) {
    if (depth > max_depth) return stop("nested more than 64 levels deep");
    switch (peek()) {
      case '{':
        node.kind = Node::Kind::object;
        advance();
        return parse_members(node, depth, '}');
      case '[':
        node.kind = Node::Kind::array;
        advance();
        return parse_elements(node, depth);
      case '\'': depart("single quotes", "read as double quotes"); [[fallthrough]];
      case '"': node.kind = Node::Kind::text; return parse_string(node.text);
      default: return parse_word(node);
    }
  }

  bool parse_word(Node& node) {
    const Position start = here();
    const std::size_t first = position_;
    while (is_word(peek())) advance();
    const std::string_view word = text_.substr(first, position_ - first);
    if (word.empty()) return stop("a value is expected here");
    if (word == "null") return true;
    if (word == "true" || word == "false") {
      node.kind = Node::Kind::boolean;
      node.boolean = word == "true";
      return true;
    }
    if (!is_number(word)) {
      depart("unquoted value", "read as a text", start);
      node.kind = Node::Kind::text;
      node.text = word;
      return true;
    }
    const char* end = word.data() + word.size();
    if (std::from_chars(word.data(), end, node.number).ec != std::errc() ||
        !std::isfinite(node.number)) {
      node.kind = Node::Kind::null;
      document_.problems.push_back(
          {start, node.path, fmt::format("the number {} is out of range", word)});
      return true;
    }
    node.kind = Node::Kind::number;
    const auto [rest, status] = std::from_chars(word.data(), end, node.integer);
    if (status == std::errc() && rest == end) node.kind = Node::Kind::integer;
    return true;
  }

  bool parse_string(std::string& out) {
    const char quote = peek();
    advance();
    for (;;) {
      if (position_ == text_.size()) return stop("the text ends inside a string");
      const char c = peek();
      if (c == quote) {
        advance();
        return true;
      }
      if (static_cast<unsigned char>(c) < 0x20)
        return stop("a string ends in its own line; write \\n or \\t inside it");
      if (c != '\\') {
        out += c;
        advance();
        continue;
      }
      advance();
      if (!parse_escape(out)) return false;
    }
  }

  bool parse_escape(std::string& out) {
    static constexpr std::string_view codes = "\"\\/bfnrt'", meanings = "\"\\/\b\f\n\r\t'";
    const char c = peek();
    if (const auto index = codes.find(c); c != '\0' && index != std::string_view::npos) {
      if (c == '\'') depart("single quotes", "an escaped one is read as the quote");
      out += meanings[index];
      advance();
      return true;
    }
    if (c != 'u') return stop("unknown escape in a string");
    advance();
    std::optional<std::uint32_t> unit = parse_hex4();
    if (!unit) return stop("\\u needs four hexadecimal digits");
    std::uint32_t code = *unit;
    if (code >= 0xD800 && code < 0xDC00 && peek() == '\\' && peek(1) == 'u') {
      advance();
      advance();
      const auto low = parse_hex4();
      if (!low || *low < 0xDC00 || *low > 0xDFFF) return stop("half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (*low - 0xDC00);
    }
    if (code >= 0xD800 && code < 0xE000) return stop("half of a surrogate pair");
    append_utf8(code, out);
    return true;
  }

  std::optional<std::uint32_t> parse_hex4() {
    std::uint32_t value = 0;
    if (position_ + 4 > text_.size()) return std::nullopt;
    const char* first = text_.data() + position_;
    const auto [rest, status] = std::from_chars(first, first + 4, value, 16);
    if (status != std::errc() || rest != first + 4) return std::nullopt;
    position_ += 4;
    return value;
  }

  std::string_view text_;
  std::size_t position_ = 0, line_start_ = 0;
  std::uint32_t line_ = 1;
  Document document_;
  std::string error_;
  Position error_at_;
};

}  // namespace

Result<Document> parse_document(std::string_view text, std::string_view origin) {
  return Parser(text, origin).run();
}

}  // namespace fathom::config
