// SPDX-License-Identifier: Apache-2.0
#include "comm/environment.hpp"

#include <charconv>
#include <cmath>
#include <string_view>

#include <fmt/format.h>
#include <unistd.h>

#include "comm/limits.hpp"

namespace fathom::comm {
namespace {

Result<void> read_seconds(const Environment& variables, const char* name, double& seconds) {
  const std::string* text = find(variables, name);
  if (text == nullptr) return {};
  double value = 0;
  const char* end = text->data() + text->size();
  const auto [rest, status] = std::from_chars(text->data(), end, value);
  if (status != std::errc() || rest != end || !std::isfinite(value) || value <= 0)
    return fail(Error(Errc::bad_config, "read the environment")
                    .on(fmt::format("{}={}", name, *text))
                    .because("it is not a number of seconds above zero")
                    .remedy(fmt::format("unset it (the default is {}) or write e.g. {}=1800",
                                        seconds, name)));
  seconds = value;
  return {};
}

}  // namespace

Environment process_environment() {
  Environment variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos)
      variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

const std::string* find(const Environment& variables, std::string_view name) {
  const auto found = variables.find(name);
  return found == variables.end() || found->second.empty() ? nullptr : &found->second;
}

Result<Limits> limits_of(const Environment& variables) {
  Limits limits;
  FATHOM_CHECK(read_seconds(variables, "FATHOM_COLLECTIVE_TIMEOUT", limits.arrival));
  FATHOM_CHECK(read_seconds(variables, "FATHOM_SILENCE_TIMEOUT", limits.silence));
  // A short silence needs more looks, or one late beat is taken for death.
  limits.beat = std::min(limits.beat, limits.silence / 10);
  return limits;
}

}  // namespace fathom::comm
