// SPDX-License-Identifier: Apache-2.0
//
// Backend: the few calls a Queue needs from an I/O engine.
//
// Purpose      A Backend moves bytes and reports what the kernel said, nothing else: no retries, no
//              splitting, no interpretation. What a result means is decided in one place for all
//              engines (completion_rules.hpp).
// Ownership    Operations refer to memory and descriptors of the caller until their Completed has
//              been reaped. A backend is destroyed only when nothing is in flight.
// Threads      all but wake belong to one thread (the queue's submitter); wake may be called from
//              any.
// Units        Bytes, seconds.
//
//   backend.prepare({.id = 7, .direction = Direction::read, .fd = fd, .buffer = p, .bytes = 1 *
//   MiB}); backend.submit(); std::array<Completed, 8> done; int count = backend.reap(done, 1.0);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "aio/arena.hpp"
#include "aio/queue.hpp"
#include "base/result.hpp"

namespace fathom::aio {

struct Operation {
  std::uint64_t id = 0;  // comes back in Completed; below 2^62
  Direction direction = Direction::read;
  int fd = -1;
  std::uint64_t file = 0;  // File::id() of fd, 0 when it is nobody's
  int flags = 0;           // RWF_… of preadv2, as File::flags()
  std::byte* buffer = nullptr;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;  // at most max_operation_bytes
};

inline constexpr std::uint64_t max_operation_bytes = std::uint64_t{1} << 30;

struct Completed {
  std::uint64_t id = 0;
  std::int64_t result = 0;  // bytes transferred, or -errno
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual Engine engine() const = 0;
  virtual unsigned capacity() const = 0;  // operations it can hold in flight

  // Called once on the submitter thread before anything else, and after everything else.
  virtual Result<void> start() { return {}; }
  virtual void stop() {}

  // Tell the kernel of memory and files in advance, where the engine gains by it. An Error says why
  // it was not done; everything works without. The backend keeps attached memory mapped and an
  // attached file's contents alive, the latter until it is detached.
  virtual Result<void> attach(const Arena&) { return {}; }
  virtual Result<void> attach(const File&) { return {}; }
  virtual void detach(const File&) {}

  // One line: the engine, how it was set up, what is registered.
  virtual std::string describe() const { return to_string(engine()); }

  // Takes an operation, to be started by the next submit(). False when there is no room: submit and
  // reap first; the operation is then not taken.
  virtual bool prepare(const Operation& operation) = 0;

  // Hands what was prepared to the kernel. 0 when all of it went; -EAGAIN or -EBUSY when some is
  // left (reap, then call again); -EINTR to call again. An operation that can never be started
  // comes back as a Completed with its -errno.
  virtual int submit() = 0;

  // Waits for at least one completion, for wake(), or for `timeout` (negative: without end), and
  // returns how many were stored: 0 after a wake or timeout, or -EINTR.
  virtual int reap(std::span<Completed> out, double timeout) = 0;

  // Makes the current reap, or the next one, return early.
  virtual void wake() = 0;

  // Asks the kernel to give up what is in flight. Every operation still completes, with its result
  // or with -ECANCELED; until then its buffer is the kernel's.
  virtual void cancel() = 0;
};

}  // namespace fathom::aio
