// SPDX-License-Identifier: Apache-2.0
#include "aio/log_once.hpp"

#include <mutex>
#include <set>

namespace fathom::aio {

void log_once(log::Level level, const std::string& line) {
  static std::mutex mutex;
  static std::set<std::string> seen;
  {
    const std::lock_guard lock(mutex);
    if (!seen.insert(line).second) return;
  }
  log::write(level, line);
}

}  // namespace fathom::aio
