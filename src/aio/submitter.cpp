// SPDX-License-Identifier: Apache-2.0
#include "aio/submitter.hpp"

#include <algorithm>
#include <utility>

#include "aio/queue_errors.hpp"
#include "base/assert.hpp"
#include "base/log.hpp"
#include "base/units.hpp"

namespace fathom::aio {

Submitter::Submitter(std::unique_ptr<Backend> backend, const QueueOptions& options,
                     const FlightBudget& budget, Clock clock)
    : backend_(std::move(backend)),
      options_(options),
      engine_(backend_->engine()),
      clock_(std::move(clock)),
      budget_(budget),
      lineup_(round_down(std::min(options.block_size, budget_.largest()), io_alignment)),
      bounces_(std::max(2U, std::min(options.queue_depth, 64U))),
      started_(start_promise_.get_future().share()) {
  const unsigned slots =
      std::max(1U, std::min(operation_limit(options, budget_), backend_->capacity()));
  slots_.resize(slots);
  batch_.resize(slots);
  ready_.reserve(slots);
  parked_.reserve(slots);
  for (unsigned i = slots; i > 0; --i) free_slots_.push_back(i - 1);
  thread_ = std::thread([this] { run(); });
}

Submitter::~Submitter() {
  FATHOM_ASSERT(std::this_thread::get_id() != thread_.get_id(),
                "a queue may not be destroyed from one of its completions");
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  backend_->wake();
  thread_.join();
}

Ticket Submitter::submit(const Request& request, Completion completion) {
  FATHOM_ASSERT(request.file != nullptr && (request.buffer != nullptr || request.bytes == 0),
                "a request needs a file and a buffer");
  const double now = clock_();
  bool wake = false;
  Ticket ticket{};
  {
    const std::lock_guard lock(mutex_);
    Job* job = spare_.pop_front();
    if (job == nullptr) job = &jobs_.emplace_back();
    *job = Job{.request = request, .completion = std::move(completion), .submitted = now};
    if (request.deadline_seconds > 0) job->due = now + request.deadline_seconds;
    job->ticket = tickets_.issue(*job);
    ticket = Ticket{job->ticket};
    incoming_.push_back(*job);
    wake = std::exchange(asleep_, false);
  }
  if (wake) backend_->wake();
  return ticket;
}

void Submitter::cancel(Ticket ticket) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (tickets_.find(static_cast<std::uint64_t>(ticket)) == nullptr) return;
    cancels_.push_back(ticket);
    wake = std::exchange(asleep_, false);
  }
  if (wake) backend_->wake();
}

void Submitter::drain() {
  FATHOM_ASSERT(std::this_thread::get_id() != thread_.get_id(), "drain() in a completion");
  std::unique_lock lock(mutex_);
  const std::uint64_t end = tickets_.next();
  finished_.wait(lock, [&] { return tickets_.oldest() >= end; });
}

void Submitter::on_drained(std::move_only_function<void()> done) {
  {
    const std::lock_guard lock(mutex_);
    if (tickets_.oldest() < tickets_.next()) {
      waiters_.push_back({tickets_.next(), std::move(done)});
      return;
    }
  }
  done();
}

Counters Submitter::counters() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

void Submitter::on_thread(const std::function<void(Backend&)>& errand) {
  FATHOM_ASSERT(std::this_thread::get_id() != thread_.get_id(), "an errand in a completion");
  std::packaged_task<void()> task([&] { errand(*backend_); });
  const std::future<void> done = task.get_future();
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    errands_.push_back(std::move(task));
    wake = std::exchange(asleep_, false);
  }
  if (wake) backend_->wake();
  done.wait();
}

void Submitter::run_errands() {
  std::vector<std::packaged_task<void()>> errands;
  {
    const std::lock_guard lock(mutex_);
    errands.swap(errands_);
  }
  for (auto& errand : errands) errand();
}

void Submitter::run() {
  Result<void> start = backend_->start();
  if (!start) broken_ = start.error();
  start_promise_.set_value(std::move(start));
  for (;;) {
    accept();
    run_errands();
    if (stop_seen_ || broken_) abandon_waiting();
    issue();
    if (stop_seen_ && idle()) {
      {
        const std::lock_guard lock(mutex_);
        if (!incoming_.empty()) continue;
      }
      return backend_->stop();
    }
    reap_once();
    check_deadlines();
  }
}

void Submitter::accept() {
  JobList taken;
  {
    const std::lock_guard lock(mutex_);
    asleep_ = false;
    stop_seen_ = stopping_;
    taken.append(incoming_);
    cancelling_.swap(cancels_);
  }
  while (Job* job = taken.pop_front()) {
    if (job->request.bytes == 0) {
      finish_job(*job);
      continue;
    }
    lineup_.add(*job);
    next_due_ = std::min(next_due_, job->due);
  }
  for (const Ticket ticket : cancelling_) {
    Job* job = nullptr;
    {
      const std::lock_guard lock(mutex_);
      job = tickets_.find(static_cast<std::uint64_t>(ticket));
    }
    // Only this thread finishes jobs, so it stays what it is.
    if (job != nullptr) cancel_job(*job);
  }
  cancelling_.clear();
}

void Submitter::abandon_waiting() {
  lineup_.for_each([this](Job& job) {
    if (broken_)
      fail_job(job, Error(*broken_));
    else if (job.issued == 0)  // what has started is not torn
      fail_job(job, cancelled_error(job, "the queue was closed before it started"));
  });
}

void Submitter::cancel_job(Job& job) {
  if (job.error || job.cancelled) return;
  job.cancelled = true;
  if (job.waiting)
    fail_job(job, cancelled_error(job, job.issued == 0 ? "cancelled before it started"
                                                       : "cancelled when part of it had started"));
  drop_idle(false);
}

void Submitter::fail_job(Job& job, Error error) {
  if (job.error) return;
  job.error = std::move(error);
  ++tally_.failures;
  if (job.waiting) lineup_.remove(job);
  if (job.running == 0) finish_job(job);
}

void Submitter::finish_job(Job& job) {
  publish();
  // Called and destroyed before the ticket is marked: after drain() nothing of it is left.
  {
    Completion completion = std::move(job.completion);
    if (completion)
      completion(job.error ? Result<void>(fail(std::move(*job.error))) : Result<void>());
  }
  std::vector<Waiter> drained;
  {
    const std::lock_guard lock(mutex_);
    tickets_.finish(job.ticket);
    spare_.push_front(job);
    const auto waits = [this](const Waiter& waiter) { return waiter.end > tickets_.oldest(); };
    if (!waiters_.empty()) {
      const auto first = std::stable_partition(waiters_.begin(), waiters_.end(), waits);
      drained.assign(std::move_iterator(first), std::move_iterator(waiters_.end()));
      waiters_.erase(first, waiters_.end());
    }
  }
  finished_.notify_all();
  for (Waiter& waiter : drained) waiter.done();
}

void Submitter::check_deadlines() {
  if (idle()) return;
  const double now = clock_();
  if (now >= next_due_) expire(now);
  if (broken_ || used_ == 0 || now < next_deadline_check_) return;
  next_deadline_check_ = now + std::clamp(options_.deadline_seconds / 8, 0.0005, 1.0);
  for (const Slot& slot : slots_) {
    if (slot.stage == Stage::free || now - slot.since <= options_.deadline_seconds) continue;
    give_up_device(slot, now);
    break;
  }
}

void Submitter::expire(double now) {
  next_due_ = never;
  Ahead ahead{.operations = used_, .operation_bytes = budget_.bytes()};
  lineup_.for_each([&](Job& job) {
    if (job.due <= now) {
      fail_job(job, late_in_line(job, now, ahead));
      return;
    }
    next_due_ = std::min(next_due_, job.due);
    ++ahead.requests;
    ahead.bytes += job.request.bytes - job.issued;
  });
  for (const Slot& slot : slots_) {
    if (slot.stage == Stage::free) continue;
    for (const Piece& piece : slot.draft.pieces()) {
      Job& job = *piece.job;
      if (job.error) continue;
      if (job.due > now) {
        next_due_ = std::min(next_due_, job.due);
        continue;
      }
      Error late = late_on_device(job, now);
      log::warning("{}", late.message());
      fail_job(job, std::move(late));  // completes when the device has answered
    }
  }
  drop_idle(false);
}

void Submitter::give_up_device(const Slot& slot, double now) {
  broken_ = stuck_device(slot.draft, slot.attempt, now - slot.since, options_.deadline_seconds);
  log::error("{}", broken_->message());
  // The buffers in flight stay the kernel's until it answers; everything else fails now.
  backend_->cancel();
  drop_idle(true);
}

void Submitter::publish() {
  if (used_ > 0) {
    const double now = clock_();
    tally_.busy_seconds += now - busy_mark_;
    busy_mark_ = now;
  }
  const std::lock_guard lock(mutex_);
  published_ = tally_;
}

}  // namespace fathom::aio
