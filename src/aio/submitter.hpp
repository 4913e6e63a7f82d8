// SPDX-License-Identifier: Apache-2.0
//
// Submitter: the thread behind a Queue.
//
// Purpose      Takes requests from any thread, cuts them into operations by priority, keeps the
//              backend full, applies the completion rules, and calls completions. All of it happens
//              on one thread, so only the hand-over needs a lock.
// Ownership    Owns its Backend. Destruction cancels what has not started, waits for what has,
// joins. Threads      submit, drain and counters from any thread; everything marked "thread" below
// runs on
//              the submitter thread alone.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "aio/backend.hpp"
#include "aio/completion_rules.hpp"
#include "aio/queue.hpp"

namespace fathom::aio {

class Submitter {
 public:
  // At most `in_flight` operations run at a time.
  Submitter(std::unique_ptr<Backend> backend, const QueueOptions& options, unsigned in_flight);
  ~Submitter();
  Submitter(const Submitter&) = delete;
  Submitter& operator=(const Submitter&) = delete;

  // What Backend::start said; waits for it.
  Result<void> started() const { return started_.get(); }

  void submit(const Request& request, Completion completion);
  void drain();
  Counters counters() const;
  Engine engine() const { return engine_; }

  // Runs `errand` on the thread, between two rounds of it, and waits. Not from a completion.
  void on_thread(const std::function<void(Backend&)>& errand);

 private:
  // A request on its way. Nodes move between lists and are reused: no allocation per request.
  struct Job {
    Request request;
    Completion completion;
    std::uint64_t ticket = 0;  // order of submission
    std::uint64_t issued = 0;  // bytes given to operations
    unsigned running = 0;      // operations not finished
    std::optional<Error> error;
    std::list<Job>::iterator self;
  };
  using Jobs = std::list<Job>;

  enum class Stage : std::uint8_t { free, ready, handed, parked };
  // One operation. Its id is slot index plus a stamp, so that a completion that nobody waits for is
  // recognised.
  struct Slot {
    Stage stage = Stage::free;
    Job* job = nullptr;
    std::uint64_t stamp = 0;
    std::uint64_t first = 0;  // its first byte, relative to the request
    Attempt attempt = {};
    double since = 0;     // when it was first handed to the backend
    double retry_at = 0;  // when parked
  };

  void run();                               // thread
  void accept();                            // thread: takes over what was submitted
  void run_errands();                       // thread
  void abandon_queued();                    // thread: fails requests that have not started
  void issue();                             // thread: fills the backend
  bool hand_over(unsigned index);           // thread
  void flush();                             // thread
  Job* next_job();                          // thread
  void release_parked(bool all);            // thread
  double wait_limit() const;                // thread
  void reap_once();                         // thread
  void handle(const Completed& completed);  // thread
  void fail_job(Job& job, Error error);     // thread
  void finish_slot(unsigned index);         // thread
  void finish_job(Job& job);                // thread
  void check_deadlines();                   // thread
  void publish();                           // thread: counters become visible
  bool idle() const { return used_ == 0 && queued_ == 0; }

  const std::unique_ptr<Backend> backend_;
  const QueueOptions options_;
  const Engine engine_;

  // Shared with the callers.
  mutable std::mutex mutex_;
  std::condition_variable finished_;
  Jobs incoming_, spare_;
  std::deque<std::packaged_task<void()>> errands_;
  std::deque<bool> done_;     // by ticket from oldest_ on
  std::uint64_t oldest_ = 0;  // smallest ticket that is not finished
  std::uint64_t next_ticket_ = 0;
  bool asleep_ = false, stopping_ = false;
  Counters published_;

  // The thread's own.
  Jobs live_;
  std::array<std::deque<Job*>, priority_count> waiting_;
  std::size_t queued_ = 0;  // entries in waiting_
  std::vector<Slot> slots_;
  std::vector<unsigned> free_slots_;
  std::deque<unsigned> ready_;    // slots to hand over again
  std::vector<unsigned> parked_;  // slots that wait for a completion or their time
  std::vector<Completed> batch_;
  std::size_t used_ = 0;  // slots not free
  bool unsent_ = false;   // submit() left operations behind
  bool stop_seen_ = false;
  std::optional<Error> broken_;  // a deadline passed: everything else fails with this
  Counters tally_;
  double busy_mark_ = 0, next_deadline_check_ = 0;

  std::promise<Result<void>> start_promise_;
  std::shared_future<Result<void>> started_;
  std::thread thread_;
};

}  // namespace fathom::aio
