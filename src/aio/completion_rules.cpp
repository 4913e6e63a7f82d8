// SPDX-License-Identifier: Apache-2.0
#include "aio/completion_rules.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>

#include <fmt/format.h>

namespace fathom::aio {
namespace {

std::uint64_t enough_of(const Attempt& attempt) {
  return attempt.enough == 0 ? attempt.want : attempt.enough;
}

Verdict failed(Failure failure, const Attempt& next) { return {Action::fail, failure, next}; }

Verdict classify_bytes(Attempt next, std::uint64_t moved) {
  if (moved > next.want - next.done) return failed(Failure::impossible, next);
  next.again = next.interrupts = next.device_errors = 0;
  next.got = next.done + moved;
  if (next.got >= enough_of(next)) {
    next.done = next.want;
    return {Action::done, Failure::none, next};
  }
  if (moved == 0 && next.direction == Direction::read) return failed(Failure::end_of_file, next);
  // A ragged tail cannot be continued with O_DIRECT: go on from the last aligned byte and transfer
  // the tail again.
  const std::uint64_t kept = round_down(next.got, next.alignment);
  next.stalls = kept > next.done ? 0 : next.stalls + 1;
  next.done = kept;
  if (next.stalls >= max_stalls) return failed(Failure::short_transfer, next);
  return {Action::resubmit, Failure::none, next};
}

Verdict classify_error(Attempt next, int error, double now) {
  switch (error) {
    case EAGAIN:
      if (next.again++ == 0) next.again_since = now;
      if (next.again > max_again || now - next.again_since > max_again_seconds)
        return failed(Failure::busy, next);
      return {Action::retry_later, Failure::none, next};
    case EINTR:
      if (++next.interrupts > max_interrupts) return failed(Failure::interrupted, next);
      return {Action::resubmit, Failure::none, next};
    case EIO:
      // One more try for a read: media errors can be transient. Never for a write: what is on the
      // device is unknown.
      if (next.direction == Direction::read && next.device_errors++ == 0)
        return {Action::resubmit, Failure::none, next};
      return failed(Failure::device, next);
    case EINVAL: return failed(Failure::misaligned, next);
    case ENOSPC:
    case EDQUOT: return failed(Failure::no_space, next);
    case EFBIG: return failed(Failure::size_limit, next);
    case ECANCELED: return failed(Failure::cancelled, next);
    case EOPNOTSUPP: return failed(Failure::unsupported, next);
    case EFAULT: return failed(Failure::bad_buffer, next);
    default: return failed(Failure::refused, next);
  }
}

}  // namespace

Verdict classify(const Attempt& attempt, std::int64_t result, double now) {
  if (result >= 0) return classify_bytes(attempt, static_cast<std::uint64_t>(result));
  return classify_error(attempt, static_cast<int>(-std::max<std::int64_t>(result, -4095)), now);
}

double retry_delay(unsigned again) {
  return std::min(0.008, std::ldexp(0.0001, static_cast<int>(again) - 1));
}

Error failure_error(Failure failure, const Attempt& attempt, std::int64_t result,
                    const Request& request, std::uint64_t offset) {
  const bool reading = attempt.direction == Direction::read;
  const char* tried = reading ? "read" : "write";
  const std::string target =
      fmt::format("{} at {}, want {} bytes, got {}", request.file->path(), offset,
                  enough_of(attempt), std::max(attempt.done, attempt.got));
  const int error = result < 0 ? static_cast<int>(-result) : 0;
  const auto build = [&](Errc code) { return Error(code, tried).on(target); };
  switch (failure) {
    case Failure::none: break;
    case Failure::short_transfer:
      return build(Errc::io)
          .because(
              fmt::format("short {}: {} tries in a row moved nothing forward", tried, max_stalls))
          .remedy(reading ? "check that the file was not truncated"
                          : "check file size limits and free space");
    case Failure::end_of_file:
      return build(Errc::io)
          .because(fmt::format("file shorter than expected: need {} bytes, has {}",
                               offset + enough_of(attempt), offset + attempt.got))
          .remedy("the file was truncated or is not the one that was written; do not use it");
    case Failure::busy:
      return build(Errc::io)
          .because(fmt::format("the device stayed busy for {} tries (bounds: {} tries, {} s)",
                               attempt.again, max_again, max_again_seconds))
          .because_errno(error)
          .remedy("lower aio.queue_depth");
    case Failure::interrupted:
      return build(Errc::io)
          .because(fmt::format("interrupted {} times in a row", attempt.interrupts))
          .because_errno(error);
    case Failure::misaligned:
      return build(Errc::internal)
          .because(fmt::format("the device refused offset {}, length {}, buffer {}",
                               offset + attempt.done, attempt.want - attempt.done,
                               static_cast<const void*>(request.buffer)))
          .because_errno(error)
          .remedy("all three must be multiples of the device's block size, at most 4096");
    case Failure::device:
      return build(Errc::io)
          .because(reading ? "the device failed twice" : "the device failed")
          .because_errno(error)
          .remedy("look at the kernel log (dmesg) and the drive's health");
    case Failure::no_space:
      return build(Errc::no_space).because_errno(error).remedy("free space there");
    case Failure::size_limit:
      return build(Errc::io)
          .because("beyond the largest file size allowed")
          .because_errno(error)
          .remedy("raise the file size limit (ulimit -f)");
    case Failure::cancelled: return build(Errc::cancelled).because_errno(error);
    case Failure::unsupported:
      return build(Errc::unsupported)
          .because("the file system or device does not offer this operation")
          .because_errno(error)
          .remedy("choose another engine with fathom.engine");
    case Failure::bad_buffer:
      return build(Errc::internal)
          .because(fmt::format("the buffer {} cannot be used for I/O",
                               static_cast<const void*>(request.buffer)))
          .because_errno(error);
    case Failure::refused:
      return build(Errc::io).because_errno(error).remedy("look at the kernel log (dmesg)");
    case Failure::impossible:
      return build(Errc::internal)
          .because(fmt::format("the engine reports {} bytes for {} that were asked for", result,
                               attempt.want - attempt.done));
  }
  return build(Errc::internal).because("no failure was recorded");
}

}  // namespace fathom::aio
