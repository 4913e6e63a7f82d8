// SPDX-License-Identifier: Apache-2.0
//
// Regex: a regular expression of tokenizer.json, run by PCRE2. Internal to the tokenizer.
//
// Purpose      The files are written for Oniguruma. PCRE2 has what they use (classes by property,
//              look-around, possessive repetition), works on UTF-8 as it is and compiles to machine
//              code; ICU's expressions want UTF-16 and are several times slower. What the two spell
//              alike but read differently is rewritten first (\s, \w, \h, nested classes, (?m));
//              what can't be rewritten is refused by name.
// Units        Offsets are bytes.
// Threads      Immutable once compiled; any number of threads may search.
//
//   FATHOM_ASSIGN(const Regex regex, Regex::compile("\\p{L}+| ?\\d{1,3}"));
//   Regex::Search search(regex, text);
//   while (const auto match = search.next()) …
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace fathom::models {

class Regex {
 public:
  struct Match {
    std::size_t begin, end;
  };

  // Errors: unsupported, with the reason; the caller adds where the pattern stands.
  static Result<Regex> compile(std::string_view pattern);

  // One search after another over the same text.
  class Search {
   public:
    Search(const Regex& regex, std::string_view text);
    // The next match; an empty one right behind the last match doesn't count.
    std::optional<Match> next();

   private:
    const Regex& regex_;
    std::string_view text_;
    std::shared_ptr<void> data_;
    std::size_t at_ = 0;
    std::optional<std::size_t> last_end_;
  };

 private:
  std::shared_ptr<void> code_;
};

// The same expression as PCRE2 spells it. Errors: unsupported, with the construct.
Result<std::string> from_oniguruma(std::string_view pattern);

}  // namespace fathom::models
