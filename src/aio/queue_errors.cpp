// SPDX-License-Identifier: Apache-2.0
#include "aio/queue_errors.hpp"

#include <fmt/format.h>

#include "base/units.hpp"

namespace fathom::aio {
namespace {

Error error_of(Errc code, const Request& request, std::uint64_t offset, std::uint64_t bytes,
               std::uint64_t got) {
  return Error(code, request.direction == Direction::read ? "read" : "write")
      .on(fmt::format("{} at {}, want {} bytes, got {}", request.file->path(), offset, bytes, got));
}

Error error_of(Errc code, const Job& job) {
  return error_of(code, job.request, job.request.offset, job.request.bytes, job.done);
}

std::string age(const Job& job, double now) {
  return fmt::format("{} after it was submitted (its deadline: {})",
                     format_seconds(now - job.submitted), format_seconds(job.due - job.submitted));
}

}  // namespace

Error cancelled_error(const Job& job, std::string_view why) {
  return error_of(Errc::cancelled, job).because(why);
}

Error late_in_line(const Job& job, double now, const Ahead& ahead) {
  return error_of(Errc::timeout, job)
      .because(fmt::format("{} in line {}, behind {} requests ({}) and {} operations on the device "
                           "({})",
                           job.issued == 0 ? "still" : "partly still", age(job, now),
                           ahead.requests, format_bytes(ahead.bytes), ahead.operations,
                           format_bytes(ahead.operation_bytes)))
      .remedy("give it a longer deadline or a higher priority, or submit less at once");
}

Error late_on_device(const Job& job, double now) {
  return error_of(Errc::timeout, job)
      .because(fmt::format("the device has not answered {}", age(job, now)))
      .remedy("look at the kernel log (dmesg) and the load of the device");
}

Error stuck_device(const Draft& draft, const Attempt& attempt, double age, double deadline) {
  const Request& request = draft.request();
  return error_of(Errc::timeout, request, request.offset + draft.all[0].first, attempt.want,
                  attempt.done)
      .because(fmt::format(
          "no answer from the device for {} (deadline {}){}", format_seconds(age),
          format_seconds(deadline),
          draft.count > 1 ? fmt::format(", one operation for {} requests", draft.count) : ""))
      .remedy("look at the kernel log (dmesg); the queue takes no more requests");
}

}  // namespace fathom::aio
