// SPDX-License-Identifier: Apache-2.0
//
// Result<T>: a value or an Error, and the two macros that pass an Error on.
//
//   Result<int> parse(std::string_view text);
//   Result<int> twice(std::string_view text) {
//     FATHOM_ASSIGN(int value, parse(text));   // returns the Error, or defines `value`
//     FATHOM_CHECK(check_range(value));        // same for a Result<void>
//     return 2 * value;
//   }
#pragma once

#include <expected>
#include <utility>

#include "base/error.hpp"

namespace fathom {

template <class T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Error error) { return std::unexpected<Error>(std::move(error)); }

}  // namespace fathom

#define FATHOM_CONCAT_(a, b) a##b
#define FATHOM_CONCAT(a, b) FATHOM_CONCAT_(a, b)

// Evaluates a Result<T>; on failure returns its Error from the enclosing function, otherwise moves
// the value into `declaration`.
#define FATHOM_ASSIGN(declaration, ...) \
  FATHOM_ASSIGN_(FATHOM_CONCAT(fathom_result_, __COUNTER__), declaration, __VA_ARGS__)
#define FATHOM_ASSIGN_(temporary, declaration, ...)                                      \
  auto temporary = (__VA_ARGS__);                                                        \
  if (!temporary) return std::unexpected<::fathom::Error>(std::move(temporary).error()); \
  declaration = std::move(*temporary)

// Evaluates any Result; on failure returns its Error from the enclosing function.
#define FATHOM_CHECK(...) FATHOM_CHECK_(FATHOM_CONCAT(fathom_check_, __COUNTER__), __VA_ARGS__)
#define FATHOM_CHECK_(temporary, ...)                                                      \
  do {                                                                                     \
    auto temporary = (__VA_ARGS__);                                                        \
    if (!temporary) return std::unexpected<::fathom::Error>(std::move(temporary).error()); \
  } while (false)
