// SPDX-License-Identifier: Apache-2.0
#include "aio/submitter.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

constexpr unsigned slot_bits = 16;  // of an operation's id; the stamp has the rest

Error cancelled_error(const Request& request) {
  return Error(Errc::cancelled, request.direction == Direction::read ? "read" : "write")
      .on(fmt::format("{} at {}, want {} bytes, got 0", request.file->path(), request.offset,
                      request.bytes))
      .because("the queue was closed before it started");
}

std::optional<Error> check_alignment(const Request& request) {
  const auto address = reinterpret_cast<std::uintptr_t>(request.buffer);
  if ((request.offset | request.bytes | address) % io_alignment == 0) return std::nullopt;
  return Error(Errc::internal, request.direction == Direction::read ? "read" : "write")
      .on(request.file->path())
      .because(fmt::format("offset {}, length {} and buffer {} must be multiples of {}",
                           request.offset, request.bytes, static_cast<const void*>(request.buffer),
                           io_alignment));
}

}  // namespace

Submitter::Submitter(std::unique_ptr<Backend> backend, const QueueOptions& options,
                     unsigned in_flight)
    : backend_(std::move(backend)),
      options_(options),
      engine_(backend_->engine()),
      started_(start_promise_.get_future().share()) {
  in_flight = std::clamp(std::min(in_flight, backend_->capacity()), 1U, 1U << slot_bits);
  slots_.resize(in_flight);
  batch_.resize(in_flight);
  for (unsigned i = in_flight; i > 0; --i) free_slots_.push_back(i - 1);
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

void Submitter::submit(const Request& request, Completion completion) {
  FATHOM_ASSERT(request.file != nullptr && (request.buffer != nullptr || request.bytes == 0),
                "a request needs a file and a buffer");
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (spare_.empty()) spare_.emplace_back();
    incoming_.splice(incoming_.end(), spare_, spare_.begin());
    Job& job = incoming_.back();
    job.self = std::prev(incoming_.end());
    job.request = request;
    job.completion = std::move(completion);
    job.ticket = next_ticket_++;
    job.issued = 0;
    job.running = 0;
    job.error.reset();
    done_.push_back(false);
    wake = std::exchange(asleep_, false);
  }
  if (wake) backend_->wake();
}

void Submitter::drain() {
  FATHOM_ASSERT(std::this_thread::get_id() != thread_.get_id(), "drain() in a completion");
  std::unique_lock lock(mutex_);
  const std::uint64_t end = next_ticket_;
  finished_.wait(lock, [&] { return oldest_ >= end; });
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
  std::deque<std::packaged_task<void()>> errands;
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
    if (stop_seen_ || broken_) abandon_queued();
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
  const auto last = live_.empty() ? live_.end() : std::prev(live_.end());
  {
    const std::lock_guard lock(mutex_);
    asleep_ = false;
    stop_seen_ = stopping_;
    live_.splice(live_.end(), incoming_);
  }
  // Completions called below may free nodes at or before the cursor, so step first.
  for (auto at = last == live_.end() ? live_.begin() : std::next(last); at != live_.end();) {
    Job& job = *at++;
    if (job.request.bytes == 0) {
      finish_job(job);
    } else if (auto error = check_alignment(job.request)) {
      job.error = std::move(error);
      ++tally_.failures;
      finish_job(job);
    } else {
      waiting_[static_cast<std::size_t>(job.request.priority)].push_back(&job);
      ++queued_;
    }
  }
}

void Submitter::abandon_queued() {
  for (auto& line : waiting_) {
    while (!line.empty()) {
      Job& job = *line.front();
      if (broken_) {
        fail_job(job, Error(*broken_));
      } else if (job.issued == 0) {
        fail_job(job, cancelled_error(job.request));
      } else {
        // Part of it is on its way: what has started is not torn.
        break;
      }
    }
    if (broken_) continue;
    for (std::size_t i = 1; i < line.size();) {
      if (line[i]->issued != 0) {
        ++i;
        continue;
      }
      fail_job(*line[i], cancelled_error(line[i]->request));
    }
  }
}

Submitter::Job* Submitter::next_job() {
  for (auto& line : waiting_)
    if (!line.empty()) return line.front();
  return nullptr;
}

void Submitter::issue() {
  if (unsent_) flush();
  while (!ready_.empty() && !unsent_) {
    if (!hand_over(ready_.front())) return;
    ready_.pop_front();
    if (options_.single_submit) flush();
  }
  // Without overlap a batch is completed before the next one starts.
  const bool may_start = options_.overlap_events || used_ == 0;
  while (may_start && !unsent_ && !free_slots_.empty()) {
    Job* job = next_job();
    if (job == nullptr) break;
    const unsigned index = free_slots_.back();
    Slot& slot = slots_[index];
    const std::uint64_t bytes = std::min(options_.block_size, job->request.bytes - job->issued);
    slot = Slot{.stage = Stage::ready, .job = job, .stamp = slot.stamp + 1, .first = job->issued};
    slot.attempt.direction = job->request.direction;
    slot.attempt.alignment = job->request.file->alignment();
    slot.attempt.want = bytes;
    slot.since = now_seconds();
    if (!hand_over(index)) {
      slot.stage = Stage::free;
      break;
    }
    free_slots_.pop_back();
    if (used_++ == 0) busy_mark_ = slot.since;
    ++job->running;
    job->issued += bytes;
    if (job->issued == job->request.bytes) {
      waiting_[static_cast<std::size_t>(job->request.priority)].pop_front();
      --queued_;
    }
    if (options_.single_submit) flush();
  }
  flush();
}

bool Submitter::hand_over(unsigned index) {
  Slot& slot = slots_[index];
  const Request& request = slot.job->request;
  const std::uint64_t begin = slot.first + slot.attempt.done;
  const Operation operation{.id = slot.stamp << slot_bits | index,
                            .direction = request.direction,
                            .fd = request.file->fd(),
                            .file = request.file->id(),
                            .flags = request.file->flags(),
                            .buffer = request.buffer + begin,
                            .offset = request.offset + begin,
                            .bytes = slot.attempt.want - slot.attempt.done};
  if (!backend_->prepare(operation)) {
    // The submission queue is full: empty it and try once more, else reap first.
    flush();
    if (unsent_ || !backend_->prepare(operation)) return false;
  }
  slot.stage = Stage::handed;
  ++tally_.operations;
  return true;
}

void Submitter::flush() {
  int sent = backend_->submit();
  while (sent == -EINTR) sent = backend_->submit();
  unsent_ = sent < 0;
}

void Submitter::release_parked(bool all) {
  if (parked_.empty()) return;
  const double now = all ? 0 : now_seconds();
  std::erase_if(parked_, [&](unsigned index) {
    if (!all && slots_[index].retry_at > now) return false;
    slots_[index].stage = Stage::ready;
    ready_.push_back(index);
    return true;
  });
}

double Submitter::wait_limit() const {
  if (unsent_ || !ready_.empty()) return retry_delay(4);  // no room now: brief, then again
  if (used_ == 0) return -1;                              // until somebody submits
  double limit = std::clamp(options_.deadline_seconds / 4, 0.001, 1.0);
  if (!parked_.empty()) {
    const double now = now_seconds();
    for (const unsigned index : parked_)
      limit = std::min(limit, std::max(0.00001, slots_[index].retry_at - now));
  }
  return limit;
}

void Submitter::reap_once() {
  double timeout = wait_limit();
  publish();
  {
    const std::lock_guard lock(mutex_);
    if (!incoming_.empty() || !errands_.empty() || stopping_ != stop_seen_)
      timeout = 0;
    else
      asleep_ = true;
  }
  const int count = backend_->reap(batch_, timeout);
  FATHOM_ASSERT(count <= static_cast<int>(batch_.size()), "more completions than room for them");
  bool moved = false;
  for (int i = 0; i < count; ++i) moved = moved || batch_[static_cast<std::size_t>(i)].result > 0;
  release_parked(moved);
  for (int i = 0; i < count; ++i) handle(batch_[static_cast<std::size_t>(i)]);
}

void Submitter::handle(const Completed& completed) {
  const auto index = static_cast<unsigned>(completed.id & ((1U << slot_bits) - 1));
  FATHOM_ASSERT(index < slots_.size() && slots_[index].stage == Stage::handed &&
                    slots_[index].stamp == completed.id >> slot_bits,
                "a completion arrived that nothing waits for");
  Slot& slot = slots_[index];
  Job& job = *slot.job;
  const double now = now_seconds();
  const Verdict verdict = classify(slot.attempt, completed.result, now);
  slot.attempt = verdict.next;
  const std::uint64_t offset = job.request.offset + slot.first;
  switch (verdict.action) {
    case Action::done:
      (job.request.direction == Direction::read ? tally_.bytes_read : tally_.bytes_written) +=
          slot.attempt.want;
      if (job.request.direction == Direction::write)
        job.request.file->written(offset, slot.attempt.want);
      break;
    case Action::resubmit:
    case Action::retry_later:
      if (job.error) break;  // the request has failed already: no more I/O for it
      if (broken_) {
        fail_job(job, Error(*broken_));
        break;
      }
      ++tally_.retries;
      if (verdict.action == Action::resubmit) {
        slot.stage = Stage::ready;
        ready_.push_back(index);
      } else {
        slot.stage = Stage::parked;
        slot.retry_at = now + retry_delay(slot.attempt.again);
        parked_.push_back(index);
      }
      return;
    case Action::fail:
      // After a deadline the cancellation's own codes say nothing that the deadline did not.
      fail_job(job, broken_ ? Error(*broken_)
                            : failure_error(verdict.failure, slot.attempt, completed.result,
                                            job.request, offset));
      break;
  }
  finish_slot(index);
}

void Submitter::fail_job(Job& job, Error error) {
  if (job.error) return;
  job.error = std::move(error);
  ++tally_.failures;
  if (job.issued < job.request.bytes) {
    auto& line = waiting_[static_cast<std::size_t>(job.request.priority)];
    line.erase(std::find(line.begin(), line.end(), &job));
    --queued_;
  }
  if (job.running == 0) finish_job(job);
}

void Submitter::finish_slot(unsigned index) {
  Slot& slot = slots_[index];
  Job& job = *slot.job;
  slot.stage = Stage::free;
  slot.job = nullptr;
  free_slots_.push_back(index);
  if (--used_ == 0) tally_.busy_seconds += now_seconds() - busy_mark_;
  if (--job.running == 0 && (job.error || job.issued == job.request.bytes)) finish_job(job);
}

void Submitter::finish_job(Job& job) {
  publish();
  // Called and destroyed before the ticket is marked: after drain() nothing of it is left.
  {
    Completion completion = std::move(job.completion);
    if (completion)
      completion(job.error ? Result<void>(fail(std::move(*job.error))) : Result<void>());
  }
  {
    const std::lock_guard lock(mutex_);
    done_[job.ticket - oldest_] = true;
    while (!done_.empty() && done_.front()) {
      done_.pop_front();
      ++oldest_;
    }
    spare_.splice(spare_.end(), live_, job.self);
  }
  finished_.notify_all();
}

void Submitter::check_deadlines() {
  const double now = now_seconds();
  if (broken_ || used_ == 0 || now < next_deadline_check_) return;
  next_deadline_check_ = now + std::clamp(options_.deadline_seconds / 8, 0.0005, 1.0);
  for (const Slot& slot : slots_) {
    if (slot.stage == Stage::free || now - slot.since <= options_.deadline_seconds) continue;
    const Request& request = slot.job->request;
    broken_ =
        Error(Errc::timeout, request.direction == Direction::read ? "read" : "write")
            .on(fmt::format("{} at {}, want {} bytes, got {}", request.file->path(),
                            request.offset + slot.first, slot.attempt.want, slot.attempt.done))
            .because(fmt::format("no answer from the device for {} (deadline {})",
                                 format_seconds(now - slot.since),
                                 format_seconds(options_.deadline_seconds)))
            .remedy("look at the kernel log (dmesg); the queue takes no more requests");
    break;
  }
  if (!broken_) return;
  log::error("{}", broken_->message());
  // The buffers in flight stay the kernel's until it answers; everything else fails now.
  backend_->cancel();
  std::vector<unsigned> held = std::exchange(parked_, {});
  held.insert(held.end(), ready_.begin(), ready_.end());
  ready_.clear();
  for (const unsigned index : held) {
    fail_job(*slots_[index].job, Error(*broken_));
    finish_slot(index);
  }
}

void Submitter::publish() {
  if (used_ > 0) {
    const double now = now_seconds();
    tally_.busy_seconds += now - busy_mark_;
    busy_mark_ = now;
  }
  const std::lock_guard lock(mutex_);
  published_ = tally_;
}

}  // namespace fathom::aio
