// SPDX-License-Identifier: Apache-2.0
//
// Report: everything that is to be said about one configuration, in the end as one Error.
//
// Purpose      Loading does not stop at the first problem: each step adds its problems and notes,
// and
//              the user gets all of them at once. A key has at most one note.
// Ownership    Owns its lines.
// Threads      One thread at a time.
//
//   Report report("ds_config.json");
//   report.problem(node.at, node.path, "4 is not allowed; …");
//   if (report.failed()) return fail(report.error());
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "config/document.hpp"

namespace fathom::config {

class Report {
 public:
  explicit Report(std::string_view origin) : origin_(origin) {}

  // `path` may be empty when the text names its keys itself.
  void problem(Position at, std::string_view path, std::string_view text);
  void note(Position at, std::string_view path, std::string_view text);

  bool failed() const { return !problems_.empty(); }
  std::size_t problem_count() const { return problems_.size(); }
  Error error() const;  // bad_config, every problem on its own line
  std::vector<std::string> notes() const;

 private:
  std::string line(Position at, std::string_view path, std::string_view text) const;

  std::string origin_;
  std::vector<std::string> problems_;
  std::vector<std::pair<std::string, std::string>> notes_;  // path, line
};

}  // namespace fathom::config
