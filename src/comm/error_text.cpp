// SPDX-License-Identifier: Apache-2.0
#include "comm/error_text.hpp"

#include <array>
#include <charconv>

#include <fmt/format.h>

namespace fathom::comm {
namespace {

// ASCII's unit separator: in no path and no message.
constexpr char separator = '\x1f';

}  // namespace

std::string encode_error(const Error& error) {
  return fmt::format("{}{}{}{}{}{}{}{}{}", static_cast<int>(error.code()), separator, error.tried(),
                     separator, error.target(), separator, error.why(), separator,
                     error.remedy_text());
}

Error decode_error(std::string_view text) {
  std::array<std::string_view, 5> fields;
  std::string_view rest = text;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const std::size_t end = i + 1 == fields.size() ? rest.size() : rest.find(separator);
    int code = 0;
    if (end == std::string_view::npos ||
        (i == 0 && std::from_chars(rest.data(), rest.data() + end, code).ec != std::errc()))
      return Error(Errc::internal, "read another rank's error")
          .because(fmt::format("\"{}\" is not an error's text", text));
    fields[i] = rest.substr(0, end);
    if (i + 1 < fields.size()) rest.remove_prefix(end + 1);
  }
  int code = 0;
  std::from_chars(fields[0].data(), fields[0].data() + fields[0].size(), code);
  const bool known = code >= 0 && code <= static_cast<int>(Errc::internal);
  return Error(known ? static_cast<Errc>(code) : Errc::internal, fields[1])
      .on(fields[2])
      .because(fields[3])
      .remedy(fields[4]);
}

}  // namespace fathom::comm
