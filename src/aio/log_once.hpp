// SPDX-License-Identifier: Apache-2.0
//
// log_once: a line for the user that is worth saying once a process, not once a file or queue.
// Any thread.
#pragma once

#include <string>

#include "base/log.hpp"

namespace fathom::aio {

void log_once(log::Level level, const std::string& line);

}  // namespace fathom::aio
