// SPDX-License-Identifier: Apache-2.0
//
// The life of operations: from the line-up to the backend, through the completion rules, and back
// to the requests that they serve.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/stat.h>

#include "aio/queue_errors.hpp"
#include "aio/submitter.hpp"
#include "base/assert.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

constexpr unsigned slot_bits = 16;  // of an operation's id; the stamp has the rest

// How much of the block at `offset` the file has now.
std::uint64_t bytes_there(int fd, std::uint64_t offset) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return io_alignment;  // the read that follows will say why
  const auto size = static_cast<std::uint64_t>(info.st_size);
  return size <= offset ? 0 : std::min(size - offset, io_alignment);
}

}  // namespace

void Submitter::issue() {
  if (unsent_) flush();
  std::size_t handed = 0;
  while (handed < ready_.size() && !unsent_ && hand_over(ready_[handed])) {
    ++handed;
    if (options_.single_submit) flush();
  }
  ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(handed));
  // Without overlap a batch is completed before the next one starts.
  const bool may_start = (options_.overlap_events || used_ == 0) && ready_.empty();
  while (may_start && !unsent_ && !free_slots_.empty()) {
    const auto draft = lineup_.next({.bounce = bounces_.available(), .edge = !edge_busy_});
    if (!draft || !budget_.fits(draft->span) || !start(*draft)) break;
    if (options_.single_submit) flush();
  }
  flush();
}

bool Submitter::start(const Draft& draft) {
  const unsigned index = free_slots_.back();
  Slot& slot = slots_[index];
  set_up(slot, index, draft);
  free_slots_.pop_back();
  budget_.take(draft.span);
  lineup_.take(draft);
  for (const Piece& piece : draft.pieces()) ++piece.job->running;
  if (used_++ == 0) busy_mark_ = slot.since;
  if (hand_over(index)) return true;
  ready_.push_back(index);
  return false;
}

void Submitter::set_up(Slot& slot, unsigned index, const Draft& draft) {
  const Request& request = draft.request();
  const Piece& piece = draft.all[0];
  slot.stage = Stage::ready;
  ++slot.stamp;
  slot.draft = draft;
  slot.since = clock_();
  slot.changing = false;
  slot.attempt = {
      .direction = request.direction, .alignment = request.file->alignment(), .want = draft.span};
  slot.operation = {.id = slot.stamp << slot_bits | index,
                    .direction = request.direction,
                    .fd = request.file->fd(),
                    .file = request.file->id(),
                    .flags = request.file->flags(),
                    .buffer = request.buffer + piece.first,
                    .offset = request.offset + piece.first - draft.lead,
                    .bytes = draft.span};
  if (draft.route == Route::direct) return;
  slot.bounce = slot.operation.buffer = bounces_.take();
  if (request.direction == Direction::read) {
    slot.attempt.enough = draft.lead + piece.bytes;
  } else if (draft.route == Route::bounce) {
    std::memcpy(slot.bounce, request.buffer + piece.first, piece.bytes);
  } else {
    edge_busy_ = true;
    const std::uint64_t there = bytes_there(slot.operation.fd, slot.operation.offset);
    if (there == 0) return change_edge(slot, 0);
    slot.changing = true;
    slot.operation.direction = slot.attempt.direction = Direction::read;
    slot.attempt.enough = there;
  }
}

void Submitter::change_edge(Slot& slot, std::uint64_t have) {
  const Piece& piece = slot.draft.all[0];
  std::memset(slot.bounce + have, 0, io_alignment - have);
  std::memcpy(slot.bounce + slot.draft.lead, slot.draft.request().buffer + piece.first,
              piece.bytes);
  slot.changing = false;
  slot.operation.direction = Direction::write;
  slot.attempt = {.direction = Direction::write, .want = io_alignment};
}

bool Submitter::hand_over(unsigned index) {
  Slot& slot = slots_[index];
  Operation rest = slot.operation;
  rest.buffer += slot.attempt.done;
  rest.offset += slot.attempt.done;
  rest.bytes -= slot.attempt.done;
  if (!backend_->prepare(rest)) {
    // The submission queue is full: empty it and try once more, else reap first.
    flush();
    if (unsent_ || !backend_->prepare(rest)) return false;
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
  const double now = all ? 0 : clock_();
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
  if (parked_.empty() && next_due_ == never) return limit;
  const double now = clock_();
  limit = std::min(limit, std::max(0.00001, next_due_ - now));
  for (const unsigned index : parked_)
    limit = std::min(limit, std::max(0.00001, slots_[index].retry_at - now));
  return limit;
}

void Submitter::reap_once() {
  double timeout = wait_limit();
  publish();
  {
    const std::lock_guard lock(mutex_);
    if (!incoming_.empty() || !cancels_.empty() || !errands_.empty() || stopping_ != stop_seen_)
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
  const double now = clock_();
  const Verdict verdict = classify(slot.attempt, completed.result, now);
  slot.attempt = verdict.next;
  const bool goes_on = verdict.action == Action::resubmit ||
                       verdict.action == Action::retry_later ||
                       (verdict.action == Action::done && !land(slot));
  if (verdict.action == Action::fail) {
    fail_operation(slot, verdict.failure, completed.result);
  } else if (goes_on && (broken_ || unwanted(slot))) {
    fail_pieces(slot, broken_ ? &*broken_ : nullptr);
  } else if (verdict.action == Action::retry_later) {
    ++tally_.retries;
    slot.stage = Stage::parked;
    slot.retry_at = now + retry_delay(slot.attempt.again);
    parked_.push_back(index);
    return;
  } else if (goes_on) {
    tally_.retries += verdict.action == Action::resubmit;
    slot.stage = Stage::ready;
    ready_.push_back(index);
    return;
  }
  finish_slot(index);
}

bool Submitter::land(Slot& slot) {
  const Piece& first = slot.draft.all[0];
  const Request& request = slot.draft.request();
  if (slot.changing) {
    change_edge(slot, slot.attempt.enough);
    slot.since = clock_();
    return false;
  }
  const bool reading = request.direction == Direction::read;
  if (slot.bounce != nullptr && reading)
    std::memcpy(request.buffer + first.first, slot.bounce + slot.draft.lead, first.bytes);
  for (const Piece& piece : slot.draft.pieces()) {
    piece.job->done += piece.bytes;
    (reading ? tally_.bytes_read : tally_.bytes_written) += piece.bytes;
  }
  if (!reading) request.file->written(slot.operation.offset, slot.operation.bytes);
  return true;
}

void Submitter::fail_operation(Slot& slot, Failure failure, std::int64_t result) {
  // After the device was given up, the cancellation's own codes say nothing new.
  if (broken_) return fail_pieces(slot, &*broken_);
  const bool writing = slot.attempt.direction == Direction::write;
  const auto error_of = [&](const Attempt& attempt, const Piece& piece, std::uint64_t offset) {
    Error error = failure_error(failure, attempt, result, piece.job->request, offset);
    return slot.changing ? std::move(error).within("the block around a write") : std::move(error);
  };
  if (slot.draft.count == 1) {
    fail_job(*slot.draft.all[0].job,
             error_of(slot.attempt, slot.draft.all[0], slot.operation.offset));
  } else if (writing && failure == Failure::device) {
    // What is on the device is unknown, and a write that a device failed is not tried again.
    for (const Piece& piece : slot.draft.pieces())
      fail_job(*piece.job, error_of({.direction = Direction::write, .want = piece.bytes}, piece,
                                    piece.job->request.offset + piece.first));
  } else {
    // Each request runs again by itself, to succeed or to fail by its own name.
    for (const Piece& piece : slot.draft.pieces())
      if (piece.job->cancelled) fail_job(*piece.job, cancelled_error(*piece.job, "cancelled"));
    tally_.retries += slot.draft.count;
    lineup_.give_back(slot.draft);
  }
}

void Submitter::fail_pieces(const Slot& slot, const Error* error) {
  for (const Piece& piece : slot.draft.pieces())
    fail_job(*piece.job, error != nullptr
                             ? Error(*error)
                             : cancelled_error(*piece.job, "cancelled between two tries"));
}

void Submitter::finish_slot(unsigned index) {
  Slot& slot = slots_[index];
  slot.stage = Stage::free;
  free_slots_.push_back(index);
  budget_.give_back(slot.draft.span);
  if (slot.bounce != nullptr) bounces_.give_back(std::exchange(slot.bounce, nullptr));
  if (slot.draft.route == Route::edge) edge_busy_ = false;
  if (--used_ == 0) tally_.busy_seconds += clock_() - busy_mark_;
  for (const Piece& piece : slot.draft.pieces()) {
    Job& job = *piece.job;
    if (--job.running == 0 && (job.error || job.issued == job.request.bytes)) finish_job(job);
  }
}

bool Submitter::unwanted(const Slot& slot) {
  return std::ranges::all_of(slot.draft.pieces(), [](const Piece& piece) {
    return piece.job->error || piece.job->cancelled;
  });
}

void Submitter::drop_idle(bool all) {
  for (std::vector<unsigned>* held : {&parked_, &ready_}) {
    for (std::size_t i = 0; i < held->size();) {
      const unsigned index = (*held)[i];
      if (!all && !unwanted(slots_[index])) {
        ++i;
        continue;
      }
      held->erase(held->begin() + static_cast<std::ptrdiff_t>(i));
      fail_pieces(slots_[index], broken_ ? &*broken_ : nullptr);
      finish_slot(index);
    }
  }
}

}  // namespace fathom::aio
