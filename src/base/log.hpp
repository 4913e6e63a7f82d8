// SPDX-License-Identifier: Apache-2.0
//
// Logging: lines for people on stderr; stdout belongs to results.
//
// Purpose      One logger for the process. `note` is for what the user should know but need not act
//              on (a key without effect, a fallback and what it costs); each distinct note is
//              printed once.
// Threads      All functions may be called from any thread.
//
//   log::info("{} of {}", format_bytes(a), format_bytes(b));
#pragma once

#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace fathom::log {

enum class Level { debug, info, warning, error, off };

void set_level(Level level);
void write(Level level, std::string_view line);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

// Prints `text` as "note: text", once per process for each distinct text.
void note(std::string_view text);

}  // namespace fathom::log
