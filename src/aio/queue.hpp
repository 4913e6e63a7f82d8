// SPDX-License-Identifier: Apache-2.0
//
// Queue: all reads and writes of one device, by priority, never drained between requests.
//
// Purpose      Splits requests into blocks, merges small neighbours into one, keeps `queue_depth`
//              blocks (or their bytes in smaller operations) in flight as long as anything waits,
//              retries what io-rules says to retry, and reports each request by itself.
// Order        Strictly demand before prefetch before write-back, between pieces of requests too. A
//              lower priority gets nothing while a higher one waits: it is bounded by the callers'
//              finite buffers, not by the queue. Within a priority requests start in the order of
//              submission; they may complete in any order.
// Ownership    The caller's buffer and File belong to the kernel from submit() until the completion
//              has been called. Destruction refuses new requests, fails what has not started with
//              Errc::cancelled, waits for what has, and joins the thread. Each completion is called
//              exactly once.
// Threads      submit(), cancel(), drain(), on_drained() and counters() may be called from any
//              thread. Completions run on the queue's submitter thread: they must be short and must
//              not block; they may submit and cancel. (async.hpp runs them elsewhere.)
// Units        Bytes, seconds. Offsets, lengths and addresses are best multiples of io_alignment
//              (4096); on a direct file what is not is copied through the queue, under the contract
//              of bounce.hpp.
//
//   aio::Request read{.direction = Direction::read, .priority = Priority::demand, .file = &file,
//                     .offset = 0, .buffer = slot, .bytes = 8 * MiB};
//   const aio::Ticket ticket = queue->submit(read, [](Result<void> done) { … });
//   queue->cancel(ticket);  // if it is not wanted any more
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "aio/file.hpp"
#include "base/result.hpp"

namespace fathom::aio {

enum class Direction : std::uint8_t { read, write };
enum class Priority : std::uint8_t { demand, prefetch, write_back };
inline constexpr std::size_t priority_count = 3;

struct Request {
  Direction direction = Direction::read;
  Priority priority = Priority::demand;
  const File* file = nullptr;
  std::uint64_t offset = 0;
  std::byte* buffer = nullptr;
  std::uint64_t bytes = 0;
  // Seconds from submit() after which this request alone fails with Errc::timeout, naming what it
  // was behind; the queue goes on. What the kernel has of it then is waited for first. 0: none of
  // its own; it waits in line as long as the device moves (see QueueOptions::deadline_seconds).
  double deadline_seconds = 0;
};

// Names a submitted request; never reused by a queue.
enum class Ticket : std::uint64_t {};

// Success means that every byte of the request was transferred. An Error names direction, path,
// offset, bytes wanted and got.
using Completion = std::move_only_function<void(Result<void>)>;

enum class Engine : std::uint8_t { automatic, io_uring, libaio, posix };
const char* to_string(Engine engine);

// The `aio` block of ds_config.json, in DeepSpeed's meaning.
struct QueueOptions {
  Engine engine = Engine::automatic;
  std::uint64_t block_size = 1048576;  // bytes of one operation; a multiple of io_alignment
  unsigned queue_depth = 8;            // operations of block_size in flight per thread
  unsigned intra_op_parallelism = 1;   // total in flight = queue_depth × intra_op_parallelism
  bool single_submit = false;
  bool overlap_events = true;
  // The device is given up when it keeps one operation longer than this: the operation is logged by
  // name and the queue takes no more; what has not started and what comes later fails with
  // Errc::timeout. The stuck request itself completes (with that error) only when the device
  // answers: until then its buffer is not safe.
  double deadline_seconds = 60;
};

struct Counters {
  std::uint64_t bytes_read = 0, bytes_written = 0;  // completed, after splitting, retries once
  std::uint64_t operations = 0, retries = 0, failures = 0;
  double busy_seconds = 0;  // time with at least one operation in flight
};

class Arena;
class Backend;

class Queue {
 public:
  // Opens the engine that `options` asks for (automatic: io_uring, then libaio, then posix, each
  // refusal kept in engine_notes()). `directory` lies on the device the queue is for; its limits
  // bound the operations in flight. Errors: unsupported when a forced engine does not work here.
  static Result<std::unique_ptr<Queue>> open(const std::string& directory,
                                             const QueueOptions& options);

  // A queue over a backend of the caller's: the behaviour suite and fault injection use it.
  static std::unique_ptr<Queue> over(std::unique_ptr<Backend> backend, const QueueOptions& options);

  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  Ticket submit(const Request& request, Completion completion);

  // What has not started completes with Errc::cancelled. Of a request that has partly started no
  // more is started; it completes, cancelled, when what the device has of it is back. Without
  // effect on a request that is wholly on the device (it completes with its own result) or has
  // completed.
  void cancel(Ticket ticket);

  // Blocks until every request submitted so far has completed. Not from a completion.
  void drain();
  // Calls `done` when every request submitted so far has completed, at once if that is now: on the
  // submitter thread or on the caller's.
  void on_drained(std::move_only_function<void()> done);

  // Registers memory and files with the engine, so that requests on them cost less time of the
  // processor; where an engine has no such thing, or is refused it, nothing changes but one line in
  // the log. Not from a completion. The queue keeps an attached arena mapped as long as it lives,
  // and the space of an attached file taken, even of one that is closed, until it is detached.
  void attach(const Arena& arena);
  void attach(const File& file);
  void detach(const File& file);

  Engine engine() const;
  std::string engine_notes() const;  // why engines before the chosen one were refused; may be empty
  // "io_uring: SINGLE_ISSUER|DEFER_TASKRUN|…, registered buffers 512.00 MiB, registered files 2".
  // Not from a completion.
  std::string describe() const;
  Counters counters() const;

 private:
  struct State;
  explicit Queue(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace fathom::aio
