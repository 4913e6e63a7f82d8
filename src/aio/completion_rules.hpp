// SPDX-License-Identifier: Apache-2.0
//
// Completion rules: what the result of one operation means, as a pure function.
//
// Purpose      One table for all engines. A result is bytes or -errno; the verdict is done, give
//              the rest again, try again later, or fail with a reason. Short is not done, 0 is not
//              success, and nothing is retried without a bound. The one transfer that may end short
//              is a read of the last block of a file whose end is known (C4): there, every byte
//              before the end is `enough`.
// Threads      Pure.
// Units        Bytes, seconds on now_seconds()'s clock.
//
//   Verdict verdict = classify(attempt, result, now_seconds());
//   attempt = verdict.next;
//   if (verdict.action == Action::resubmit) give(attempt.done, attempt.want - attempt.done);
#pragma once

#include <cstdint>

#include "aio/queue.hpp"
#include "base/units.hpp"

namespace fathom::aio {

// Where one operation stands between its tries.
struct Attempt {
  Direction direction = Direction::read;
  std::uint64_t alignment = io_alignment;  // of the file: 4096 with O_DIRECT, 1 without
  std::uint64_t want = 0;                  // bytes of the operation
  std::uint64_t enough = 0;                // bytes that will do, where the file may end (0: want)
  std::uint64_t done = 0;                  // bytes kept so far, a multiple of alignment
  std::uint64_t got = 0;                   // bytes seen so far, ragged tail included (for messages)
  unsigned stalls = 0;                     // tries in a row that moved nothing forward
  unsigned again = 0;                      // -EAGAIN in a row
  unsigned interrupts = 0;                 // -EINTR in a row
  unsigned device_errors = 0;              // -EIO in a row
  double again_since = 0;                  // when the first -EAGAIN came
};

enum class Action : std::uint8_t {
  done,
  resubmit,     // the rest, from attempt.done, at once
  retry_later,  // the same, after another operation has completed or a short wait
  fail,
};

enum class Failure : std::uint8_t {
  none,
  short_transfer,  // C2, C3: two rounds without progress
  end_of_file,     // C5
  busy,            // C6: -EAGAIN beyond its bound
  interrupted,     // C7: -EINTR beyond any reason
  misaligned,      // C8
  device,          // C9
  no_space,        // C10
  size_limit,      // C11
  cancelled,       // C12
  unsupported,     // C13
  bad_buffer,      // C14
  refused,         // C15: any other errno
  impossible,      // more bytes than were asked for
};

inline constexpr unsigned max_stalls = 2;
inline constexpr unsigned max_again = 64;
inline constexpr double max_again_seconds = 5;
inline constexpr unsigned max_interrupts = 1000;

struct Verdict {
  Action action = Action::done;
  Failure failure = Failure::none;
  Attempt next;
};

Verdict classify(const Attempt& attempt, std::int64_t result, double now);

// Seconds to wait before an operation with `again` refusals is tried again when nothing else
// completes: 0.1 ms, doubling up to 8 ms.
double retry_delay(unsigned again);

// The Error for a failed operation: direction, path, offset, bytes wanted and got, and the reason.
// `offset` is the operation's first byte in the file.
Error failure_error(Failure failure, const Attempt& attempt, std::int64_t result,
                    const Request& request, std::uint64_t offset);

}  // namespace fathom::aio
