// SPDX-License-Identifier: Apache-2.0
//
// Submitter: the thread behind a Queue.
//
// Purpose      Takes requests from any thread, turns them into operations by way of the line-up,
//              keeps the backend full within its budget, applies the completion rules, and calls
//              completions. All of it happens on one thread, so only the hand-over needs a lock.
//              submitter.cpp has the life of requests, submitter_operations.cpp that of operations.
// Ownership    Owns its Backend. Destruction cancels what has not started, waits for what has, and
//              joins the thread.
// Threads      The public functions may be called from any thread; everything marked "thread" runs
//              on the submitter thread alone.
// Units        Bytes, seconds on `clock`, which tests replace.
//
//   Submitter submitter(make_posix_backend(8), options, FlightBudget(byte_budget(options)));
//   submitter.submit(request, [](Result<void> done) { … });
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "aio/backend.hpp"
#include "aio/bounce.hpp"
#include "aio/completion_rules.hpp"
#include "aio/flight_budget.hpp"
#include "aio/job.hpp"
#include "aio/lineup.hpp"
#include "aio/queue.hpp"
#include "aio/tickets.hpp"
#include "base/clock.hpp"

namespace fathom::aio {

class Submitter {
 public:
  using Clock = std::function<double()>;

  Submitter(std::unique_ptr<Backend> backend, const QueueOptions& options,
            const FlightBudget& budget, Clock clock = now_seconds);
  ~Submitter();
  Submitter(const Submitter&) = delete;
  Submitter& operator=(const Submitter&) = delete;

  // What Backend::start said; waits for it.
  Result<void> started() const { return started_.get(); }

  // As in Queue.
  Ticket submit(const Request& request, Completion completion);
  void cancel(Ticket ticket);
  void drain();
  void on_drained(std::move_only_function<void()> done);
  Counters counters() const;
  Engine engine() const { return engine_; }

  // Runs `errand` on the thread, between two rounds of it, and waits. Not from a completion.
  void on_thread(const std::function<void(Backend&)>& errand);

 private:
  enum class Stage : std::uint8_t { free, ready, handed, parked };
  // One operation. Its id is slot index plus a stamp, so that a completion that nobody waits for is
  // recognised.
  struct Slot {
    Stage stage = Stage::free;
    bool changing = false;  // an edge: what is there is being read
    std::uint64_t stamp = 0;
    Draft draft;
    Operation operation;  // all of it
    Attempt attempt;
    std::byte* bounce = nullptr;
    double since = 0;     // when it was first handed to the backend
    double retry_at = 0;  // when parked
  };
  struct Waiter {
    std::uint64_t end = 0;  // tickets before it have to finish
    std::move_only_function<void()> done;
  };

  // Requests (all on the thread).
  void run();
  void accept();  // takes over what was submitted and cancelled
  void run_errands();
  void abandon_waiting();  // fails requests that have not started
  void cancel_job(Job& job);
  void fail_job(Job& job, Error error);
  void finish_job(Job& job);
  void check_deadlines();
  void expire(double now);  // requests whose own deadline has passed
  void give_up_device(const Slot& slot, double now);
  void publish();  // counters become visible
  bool idle() const { return used_ == 0 && lineup_.empty(); }

  // Operations (all on the thread).
  void issue();  // fills the backend
  bool start(const Draft& draft);
  void set_up(Slot& slot, unsigned index, const Draft& draft);
  void change_edge(Slot& slot, std::uint64_t have);
  bool hand_over(unsigned index);
  void flush();
  void release_parked(bool all);
  double wait_limit() const;
  void reap_once();
  void handle(const Completed& completed);
  bool land(Slot& slot);  // false: the operation goes on with another step
  void fail_operation(Slot& slot, Failure failure, std::int64_t result);
  void fail_pieces(const Slot& slot, const Error* error);  // null: cancelled
  void finish_slot(unsigned index);
  void drop_idle(bool all);  // operations that nobody wants and the backend does not have
  static bool unwanted(const Slot& slot);

  const std::unique_ptr<Backend> backend_;
  const QueueOptions options_;
  const Engine engine_;
  const Clock clock_;

  // Shared with the callers.
  mutable std::mutex mutex_;
  std::condition_variable finished_;
  std::deque<Job> jobs_;  // every job there is; they are used again
  JobList incoming_, spare_;
  TicketBook tickets_;
  std::vector<Ticket> cancels_;
  std::vector<std::packaged_task<void()>> errands_;
  std::vector<Waiter> waiters_;
  bool asleep_ = false, stopping_ = false;
  Counters published_;

  // The thread's own.
  FlightBudget budget_;
  Lineup lineup_;
  BouncePool bounces_;
  std::vector<Slot> slots_;
  std::vector<unsigned> free_slots_;
  std::vector<unsigned> ready_;   // slots to hand over again, in order
  std::vector<unsigned> parked_;  // slots that wait for a completion or their time
  std::vector<Completed> batch_;
  std::vector<Ticket> cancelling_;
  std::size_t used_ = 0;    // slots not free
  bool unsent_ = false;     // submit() left operations behind
  bool edge_busy_ = false;  // an edge is being changed
  bool stop_seen_ = false;
  std::optional<Error> broken_;  // the device was given up: everything else fails with this
  Counters tally_;
  double busy_mark_ = 0, next_deadline_check_ = 0, next_due_ = never;

  std::promise<Result<void>> start_promise_;
  std::shared_future<Result<void>> started_;
  std::thread thread_;
};

}  // namespace fathom::aio
