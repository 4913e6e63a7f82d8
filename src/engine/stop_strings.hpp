// SPDX-License-Identifier: Apache-2.0
//
// StopStrings: ends a text in front of the first stop string, while the text is still being made.
//
// Purpose      A stop string may begin in one token and end in another: text that could still
//              become one is held back until it has or can't any more.
// Threads      One text, one thread.
//
//   StopStrings stop({"\n\n", "User:"});
//   print(stop.push(part));  if (stop.found()) …;  print(stop.finish());
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom::engine {

class StopStrings {
 public:
  // Empty ones are ignored.
  explicit StopStrings(std::vector<std::string> stops);

  // The text that may be shown; nothing more once a stop string was found.
  std::string push(std::string_view part);
  // What was held back, if no stop string came of it.
  std::string finish();

  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace fathom::engine
