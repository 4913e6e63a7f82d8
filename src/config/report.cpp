// SPDX-License-Identifier: Apache-2.0
#include "config/report.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace fathom::config {

std::string Report::line(Position at, std::string_view path, std::string_view text) const {
  std::string out = origin_;
  if (at.line > 0) out += fmt::format(":{}:{}", at.line, at.column);
  out += ": ";
  if (!path.empty()) out += fmt::format("{}: ", path);
  return out += text;
}

void Report::problem(Position at, std::string_view path, std::string_view text) {
  std::string added = line(at, path, text);
  if (std::ranges::find(problems_, added) == problems_.end()) problems_.push_back(std::move(added));
}

void Report::note(Position at, std::string_view path, std::string_view text) {
  const auto known = std::ranges::find_if(
      notes_, [&](const auto& entry) { return !path.empty() && entry.first == path; });
  if (known == notes_.end())
    notes_.emplace_back(path, line(at, path, text));
  else
    known->second += fmt::format("; {}", text);
}

Error Report::error() const {
  std::string why =
      problems_.size() == 1 ? "one problem:" : fmt::format("{} problems:", problems_.size());
  for (const std::string& problem : problems_) why += "\n  " + problem;
  return Error(Errc::bad_config, "check the configuration").on(origin_).because(why);
}

std::vector<std::string> Report::notes() const {
  std::vector<std::string> lines;
  for (const auto& entry : notes_) lines.push_back(entry.second);
  return lines;
}

}  // namespace fathom::config
