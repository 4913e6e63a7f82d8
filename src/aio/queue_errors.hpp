// SPDX-License-Identifier: Apache-2.0
//
// Queue errors: why a request ended without the device having failed it.
//
// Purpose      Cancelled, late in line, late on the device, or behind a device that is stuck: each
//              names the request (path, offset, bytes wanted and got) and what stood in its way.
// Threads      Pure.
// Units        Bytes, seconds.
//
//   fail_job(job, cancelled_error(job, "the queue was closed before it started"));
#pragma once

#include <cstdint>
#include <string_view>

#include "aio/completion_rules.hpp"
#include "aio/job.hpp"
#include "aio/lineup.hpp"

namespace fathom::aio {

Error cancelled_error(const Job& job, std::string_view why);

// What is served before a request that waits, and what is on the device.
struct Ahead {
  std::uint64_t requests = 0, bytes = 0;
  std::uint64_t operations = 0, operation_bytes = 0;
};

// The request's own deadline passed while it waited in line (all of it, or the rest).
Error late_in_line(const Job& job, double now, const Ahead& ahead);
// The same, while the device had it.
Error late_on_device(const Job& job, double now);

// The queue's deadline passed for an operation: nothing more is given to this device.
Error stuck_device(const Draft& draft, const Attempt& attempt, double age, double deadline);

}  // namespace fathom::aio
