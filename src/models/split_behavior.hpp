// SPDX-License-Identifier: Apache-2.0
//
// SplitBehavior: what becomes of the delimiters of a split. Internal to the tokenizer.
//
// Threads      A Splitter belongs to one split of one text.
//
//   Splitter splitter(SplitBehavior::merged_with_next, emit);
//   splitter.push(part, is_delimiter); …  splitter.finish();
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

namespace fathom::models {

enum class SplitBehavior : std::uint8_t {
  removed,               // the delimiters go
  isolated,              // each is a piece of its own
  merged_with_previous,  // each ends the piece in front of it
  merged_with_next,      // each begins the piece behind it
  contiguous,            // neighbouring delimiters are one piece
};

// Of "Removed" or "MergedWithNext" (as files say); none for another text.
std::optional<SplitBehavior> split_behavior(std::string_view name);

// Takes neighbouring parts of one text in order and gives the pieces. Among delimiters in a row
// only the one beside other text merges, as in the reference library.
class Splitter {
 public:
  Splitter(SplitBehavior behavior, std::function<void(std::string_view)> emit)
      : behavior_(behavior), emit_(std::move(emit)) {}

  void push(std::string_view part, bool delimiter);
  void finish();

 private:
  bool joins(bool delimiter) const;

  SplitBehavior behavior_;
  std::function<void(std::string_view)> emit_;
  std::optional<std::string_view> held_;
  bool last_ = false;  // the last part was a delimiter
};

}  // namespace fathom::models
