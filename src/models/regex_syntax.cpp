// SPDX-License-Identifier: Apache-2.0
//
// Oniguruma's spelling of an expression → PCRE2's: only where the two read the same text
// differently.
#include <cctype>
#include <cstddef>

#include <fmt/format.h>

#include "models/regex.hpp"

namespace fathom::models {
namespace {

// What a shorthand stands for inside a class. Oniguruma's \w counts every alphabetic, mark and
// number; its \h is a hexadecimal digit.
std::string_view members_of(char shorthand) {
  switch (shorthand) {
    case 's': return "\\p{White_Space}";
    case 'w': return "\\p{Alphabetic}\\p{M}\\p{N}\\p{Pc}";
    case 'h': return "0-9A-Fa-f";
    default: return {};
  }
}

class Rewriter {
 public:
  explicit Rewriter(std::string_view pattern) : in_(pattern) {}

  Result<std::string> run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') {
        FATHOM_CHECK(escape());
      } else if (c == '[') {
        FATHOM_CHECK(char_class());
      } else if (in_.substr(at_).starts_with("(?")) {
        options();
      } else if (c == '{') {
        FATHOM_CHECK(interval());
      } else {
        take();
      }
    }
    return std::move(out_);
  }

 private:
  std::unexpected<Error> refuse(std::string_view what) const {
    return fail(Error(Errc::unsupported, "compile a regular expression")
                    .on(in_)
                    .because(fmt::format("{} is not supported", what))
                    .remedy("write it in a way that PCRE2 understands"));
  }
  void take() { out_ += in_[at_++]; }

  Result<void> escape() {
    if (at_ + 1 >= in_.size()) return refuse("a backslash at the end");
    const char kind = in_[at_ + 1];
    const char lower = static_cast<char>(std::tolower(static_cast<unsigned char>(kind)));
    if (const std::string_view members = members_of(lower); !members.empty()) {
      out_ += fmt::format("[{}{}]", kind == lower ? "" : "^", members);
    } else if (kind == 'b' || kind == 'B') {
      // A place with a word on one side only, or on both or none.
      const std::string word = fmt::format("[{}]", members_of('w'));
      out_ += kind == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word)
                          : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word);
    } else if (kind == 'O') {
      out_ += "(?s:.)";
    } else if (kind == 'u') {
      return code_point();
    } else {
      out_ += in_.substr(at_, 2);
    }
    at_ += 2;
    return {};
  }

  Result<void> code_point() {
    const std::string_view digits = in_.substr(at_ + 2, 4);
    if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos)
      return refuse("\\u without four digits");
    out_ += fmt::format("\\x{{{}}}", digits);
    at_ += 6;
    return {};
  }

  // Options of a group: Oniguruma's m is PCRE2's s.
  void options() {
    std::size_t end = at_ + 2;
    while (end < in_.size() &&
           (std::isalpha(static_cast<unsigned char>(in_[end])) != 0 || in_[end] == '-'))
      ++end;
    const bool flags = end < in_.size() && end > at_ + 2 && (in_[end] == ':' || in_[end] == ')');
    out_ += "(?";
    at_ += 2;
    for (; flags && at_ < end; ++at_) out_ += in_[at_] == 'm' ? 's' : in_[at_];
  }

  // To Oniguruma {1,3}+ is a repetition of a repetition, to PCRE2 a possessive one.
  Result<void> interval() {
    const std::size_t end = in_.find('}', at_);
    const bool counts =
        end != in_.npos && end > at_ + 1 &&
        in_.substr(at_ + 1, end - at_ - 1).find_first_not_of("0123456789,") == in_.npos;
    if (!counts) {
      take();
      return {};
    }
    if (end + 1 < in_.size() && in_[end + 1] == '+') return refuse("a + behind an interval");
    out_ += in_.substr(at_, end + 1 - at_);
    at_ = end + 1;
    return {};
  }

  Result<void> char_class() {
    take();
    if (at_ < in_.size() && in_[at_] == '^') take();
    // A bracket that closes nothing yet is a member.
    if (at_ < in_.size() && in_[at_] == ']') {
      out_ += "\\]";
      ++at_;
    }
    for (std::size_t depth = 1; depth > 0;) {
      if (at_ >= in_.size()) return refuse("a class without end");
      const char c = in_[at_];
      if (c == '\\') {
        FATHOM_CHECK(class_escape());
      } else if (in_.substr(at_).starts_with("[:")) {
        const std::size_t end = in_.find(":]", at_);
        if (end == in_.npos) return refuse("[: without :]");
        out_ += in_.substr(at_, end + 2 - at_);
        at_ = end + 2;
      } else if (c == '[') {
        // The members of a class in a class are members of the outer one.
        if (in_.substr(at_).starts_with("[^")) return refuse("a negated class in a class");
        ++at_;
        ++depth;
      } else if (in_.substr(at_).starts_with("&&")) {
        return refuse("an intersection of classes");
      } else if (c == ']') {
        --depth;
        if (depth == 0) {
          take();
        } else {
          ++at_;
        }
      } else {
        take();
      }
    }
    return {};
  }

  Result<void> class_escape() {
    if (at_ + 1 >= in_.size()) return refuse("a backslash at the end");
    const char kind = in_[at_ + 1];
    if (const std::string_view members = members_of(kind); !members.empty()) {
      out_ += members;
    } else if (kind == 'S') {
      out_ += "\\P{White_Space}";
    } else if (kind == 'W' || kind == 'H') {
      return refuse(fmt::format("\\{} in a class", kind));
    } else if (kind == 'u') {
      return code_point();
    } else {
      out_ += in_.substr(at_, 2);
    }
    at_ += 2;
    return {};
  }

  std::string_view in_;
  std::string out_;
  std::size_t at_ = 0;
};

}  // namespace

Result<std::string> from_oniguruma(std::string_view pattern) { return Rewriter(pattern).run(); }

}  // namespace fathom::models
