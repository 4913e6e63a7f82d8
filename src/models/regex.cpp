// SPDX-License-Identifier: Apache-2.0
#include "models/regex.hpp"

#include <array>
#include <atomic>
#include <cstdint>

#include <fmt/format.h>

#include "base/log.hpp"
#include "models/utf8.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace fathom::models {
namespace {

// As many steps as Oniguruma allows at one place before it gives up.
constexpr std::uint32_t step_limit = 10'000'000;

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

pcre2_match_context* match_context() {
  static pcre2_match_context* const context = [] {
    pcre2_match_context* made = pcre2_match_context_create(nullptr);
    pcre2_set_match_limit(made, step_limit);
    return made;
  }();
  return context;
}

}  // namespace

Result<Regex> Regex::compile(std::string_view pattern) {
  FATHOM_ASSIGN(const std::string spelled, from_oniguruma(pattern));
  const std::shared_ptr<pcre2_compile_context> context(pcre2_compile_context_create(nullptr),
                                                       pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  int code = 0;
  PCRE2_SIZE offset = 0;
  // Oniguruma's ^ and $ always look at lines.
  pcre2_code* compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code,
                    &offset, context.get());
  if (compiled == nullptr)
    return fail(Error(Errc::unsupported, "compile a regular expression")
                    .on(pattern)
                    .because(fmt::format("{} at {} of {}", message_of(code), offset, spelled))
                    .remedy("write it in a way that PCRE2 understands"));
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // without it searches are slower, no more
  Regex regex;
  regex.code_ = std::shared_ptr<void>(
      compiled, [](void* held) { pcre2_code_free(static_cast<pcre2_code*>(held)); });
  return regex;
}

Regex::Search::Search(const Regex& regex, std::string_view text)
    : regex_(regex), text_(text), data_(pcre2_match_data_create(1, nullptr), [](void* held) {
        pcre2_match_data_free(static_cast<pcre2_match_data*>(held));
      }) {}

std::optional<Regex::Match> Regex::Search::next() {
  const auto* code = static_cast<const pcre2_code*>(regex_.code_.get());
  auto* data = static_cast<pcre2_match_data*>(data_.get());
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data() != nullptr ? text_.data() : "");
  while (at_ <= text_.size()) {
    int found =
        pcre2_match(code, subject, text_.size(), at_, PCRE2_NO_UTF_CHECK, data, match_context());
    // Compiled code has a small stack of its own; the interpreter takes what it needs from the
    // heap.
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
      found = pcre2_match(code, subject, text_.size(), at_, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                          match_context());
    if (found < 0) {
      static std::atomic<bool> said = false;
      if (found != PCRE2_ERROR_NOMATCH && !said.exchange(true))
        log::warning("a pattern of the tokenizer gave up ({}): from there on the text is not split",
                     message_of(found));
      at_ = text_.size() + 1;
      return std::nullopt;
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data);
    const Match match{bounds[0], bounds[1]};
    // \K in a look-ahead may put the beginning behind the end.
    if (match.begin > match.end || match.end < at_) {
      at_ = text_.size() + 1;
      return std::nullopt;
    }
    if (match.begin == match.end && last_end_ == match.end) {
      at_ += at_ < text_.size() ? utf8_unit(text_, at_).length : 1;
      continue;
    }
    at_ = match.end;
    last_end_ = match.end;
    return match;
  }
  return std::nullopt;
}

}  // namespace fathom::models
