// SPDX-License-Identifier: Apache-2.0
//
// ResultFile: JSON Lines that a later run can go on with.
//
// Purpose      A line is appended whole and synced before the next result is made. A run that was
//              killed leaves at most a half-written last line, which opening to resume cuts off. A
//              file that this run created and wrote nothing to is removed again.
// Threads      One thread.
//
//   FATHOM_ASSIGN(ResultFile file, ResultFile::open("out.jsonl", resume));
//   skip the first file.lines() results …;  FATHOM_CHECK(file.append(json.dump()));
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace fathom::tools {

class ResultFile {
 public:
  // Without `resume` what the file held is gone. Errors: io; bad_input when it is no list of
  // results.
  static Result<ResultFile> open(const std::string& path, bool resume);
  ResultFile(ResultFile&&) noexcept = default;
  ResultFile& operator=(ResultFile&&) = delete;
  ~ResultFile();

  std::size_t lines() const { return lines_; }  // whole ones, when it was opened
  Result<void> append(std::string_view line);

 private:
  ResultFile(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  std::string path_;
  UniqueFd fd_;
  std::size_t lines_ = 0;
  bool created_ = false;
};

}  // namespace fathom::tools
