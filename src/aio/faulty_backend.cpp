// SPDX-License-Identifier: Apache-2.0
#include "aio/faulty_backend.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include <unistd.h>

#include "base/assert.hpp"
#include "base/random.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

constexpr std::uint64_t ragged = 100;  // bytes that a ragged short transfer leaves out

using AlignedBytes = std::unique_ptr<std::byte, decltype(&std::free)>;

AlignedBytes aligned_bytes(std::uint64_t bytes) {
  return {static_cast<std::byte*>(std::aligned_alloc(io_alignment, round_up(bytes, io_alignment))),
          &std::free};
}

}  // namespace

const char* to_string(Fault fault) {
  switch (fault) {
    case Fault::device_error: return "device_error";
    case Fault::no_space: return "no_space";
    case Fault::busy: return "busy";
    case Fault::interrupted: return "interrupted";
    case Fault::zero: return "zero";
    case Fault::short_aligned: return "short_aligned";
    case Fault::short_ragged: return "short_ragged";
    case Fault::torn: return "torn";
    case Fault::flip_on_read: return "flip_on_read";
    case Fault::flip_before_write: return "flip_before_write";
    case Fault::misdirected: return "misdirected";
    case Fault::stale: return "stale";
    case Fault::lost_write: return "lost_write";
    case Fault::delay: return "delay";
    case Fault::reorder: return "reorder";
    case Fault::hang: return "hang";
    case Fault::submit_busy: return "submit_busy";
  }
  return "unknown";
}

FaultyBackend::FaultyBackend(std::unique_ptr<Backend> inner, std::vector<FaultRule> rules)
    : inner_(std::move(inner)),
      rules_(std::move(rules)),
      keeps_history_(std::ranges::any_of(
          rules_, [](const FaultRule& rule) { return rule.fault == Fault::stale; })),
      seen_(rules_.size(), 0) {}

FaultyBackend::~FaultyBackend() {
  FATHOM_ASSERT(flights_.empty() && hanging_.empty() && answered_.empty() && held_.empty(),
                "a backend dies with operations in flight");
}

void FaultyBackend::release() {
  released_.store(true);
  inner_->wake();
}

std::optional<Fault> FaultyBackend::choose(const Operation& operation) {
  std::optional<Fault> chosen;
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    const FaultRule& rule = rules_[i];
    if (rule.only && *rule.only != operation.direction) continue;
    const std::uint64_t n = ++seen_[i];
    const bool due = rule.at != 0 && (n == rule.at || (rule.for_ever && n > rule.at));
    const bool drawn =
        rule.probability > 0 &&
        CounterRandom(rule.seed, to_string(rule.fault)).uniform(n) < rule.probability;
    if (!chosen && (due || drawn)) chosen = rule.fault;
  }
  return chosen;
}

void FaultyBackend::answer(const Operation& operation, std::int64_t result) {
  answered_.push_back({operation.id, result});
}

void FaultyBackend::remember(const Operation& operation) {
  if (!keeps_history_ || operation.direction != Direction::write) return;
  const AlignedBytes before = aligned_bytes(operation.bytes);
  const ssize_t got =
      ::pread(operation.fd, before.get(), operation.bytes, static_cast<off_t>(operation.offset));
  if (got != static_cast<ssize_t>(operation.bytes)) return;
  history_[{operation.fd, operation.offset, operation.bytes}].assign(
      before.get(), before.get() + operation.bytes);
}

bool FaultyBackend::pass_on(const Operation& changed, Flight flight) {
  if (!inner_->prepare(changed)) return false;
  flights_[changed.id] = std::move(flight);
  return true;
}

bool FaultyBackend::prepare(const Operation& operation) {
  // Own answers take no room in the inner backend; its capacity bounds both together.
  if (flights_.size() + answered_.size() + held_.size() + hanging_.size() >= capacity())
    return false;
  operations_.fetch_add(1);
  const bool reading = operation.direction == Direction::read;
  std::optional<Fault> fault = choose(operation);
  Operation changed = operation;
  Flight flight{operation, fault, {}};
  remember(operation);
  if (fault) {
    struck_.fetch_add(1);
    switch (*fault) {
      case Fault::device_error: answer(operation, -EIO); return true;
      case Fault::no_space: answer(operation, -ENOSPC); return true;
      case Fault::busy: answer(operation, -EAGAIN); return true;
      case Fault::interrupted: answer(operation, -EINTR); return true;
      case Fault::zero: answer(operation, 0); return true;
      case Fault::hang: hanging_.push_back(operation); return true;
      case Fault::lost_write:
        if (reading) break;
        answer(operation, static_cast<std::int64_t>(operation.bytes));
        return true;
      case Fault::torn:
        if (!reading && operation.bytes > io_alignment)
          changed.bytes = round_up(operation.bytes / 2, io_alignment);
        break;
      case Fault::short_aligned:
        if (operation.bytes > io_alignment)
          changed.bytes = round_up(operation.bytes / 2, io_alignment);
        break;
      case Fault::misdirected:
        changed.offset = operation.offset >= operation.bytes ? operation.offset - operation.bytes
                                                             : operation.offset + operation.bytes;
        break;
      case Fault::flip_before_write: {
        if (reading) break;
        // The caller's buffer is not ours to change: a copy with the flipped bit is written here
        // and now, which keeps the copy's life simple.
        const AlignedBytes copy = aligned_bytes(operation.bytes);
        std::memcpy(copy.get(), operation.buffer, operation.bytes);
        copy.get()[operation.bytes / 2] ^= std::byte{1};
        const ssize_t put = ::pwrite(operation.fd, copy.get(), operation.bytes,
                                     static_cast<off_t>(operation.offset));
        answer(operation, put < 0 ? -errno : put);
        return true;
      }
      case Fault::stale: {
        const auto found = history_.find({operation.fd, operation.offset, operation.bytes});
        if (reading && found != history_.end()) flight.copy = found->second;
        break;
      }
      case Fault::reorder: reorder_ = true; break;
      case Fault::submit_busy: busy_once_ = true; break;
      case Fault::short_ragged:
      case Fault::flip_on_read:
      case Fault::delay: break;  // made when it completes
    }
  }
  return pass_on(changed, std::move(flight));
}

int FaultyBackend::submit() {
  if (std::exchange(busy_once_, false)) return -EAGAIN;
  return inner_->submit();
}

Completed FaultyBackend::deliver(const Completed& completed) {
  const auto at = flights_.find(completed.id);
  FATHOM_ASSERT(at != flights_.end(), "the inner backend completed an unknown operation");
  const Flight flight = std::move(at->second);
  flights_.erase(at);
  Completed changed = completed;
  const Operation& operation = flight.operation;
  const bool reading = operation.direction == Direction::read;
  if (!flight.fault || completed.result <= 0) return changed;
  switch (*flight.fault) {
    case Fault::torn:
      if (!reading) changed.result = static_cast<std::int64_t>(operation.bytes);
      break;
    case Fault::short_ragged:
      if (completed.result > static_cast<std::int64_t>(ragged)) {
        changed.result = completed.result - static_cast<std::int64_t>(ragged);
        // What lies behind a short read is undefined: make it visibly so.
        if (reading) std::memset(operation.buffer + changed.result, 0xDB, ragged);
      }
      break;
    case Fault::flip_on_read:
      if (reading) operation.buffer[completed.result / 2] ^= std::byte{1};
      break;
    case Fault::stale:
      if (!flight.copy.empty())
        std::memcpy(operation.buffer, flight.copy.data(), flight.copy.size());
      break;
    default: break;
  }
  return changed;
}

int FaultyBackend::reap(std::span<Completed> out, double timeout) {
  if (released_.load()) {
    for (const Operation& operation : std::exchange(hanging_, {})) answer(operation, -ECANCELED);
  }
  const bool only_held = !held_.empty() && flights_.empty();
  if (!answered_.empty() || !ready_.empty() || only_held) timeout = 0;
  std::vector<Completed> batch(out.size());
  const int count = inner_->reap(batch, timeout);
  for (int i = 0; i < count; ++i) {
    const Completed& completed = batch[static_cast<std::size_t>(i)];
    const auto at = flights_.find(completed.id);
    const bool delayed = at != flights_.end() && at->second.fault == Fault::delay;
    (delayed ? held_ : ready_).push_back(deliver(completed));
  }
  ready_.insert(ready_.end(), answered_.begin(), answered_.end());
  answered_.clear();
  // What is delayed comes when nothing else is left to come.
  if (ready_.empty() && flights_.empty()) std::swap(ready_, held_);
  if (std::exchange(reorder_, false)) std::reverse(ready_.begin(), ready_.end());
  const std::size_t given = std::min(out.size(), ready_.size());
  std::copy_n(ready_.begin(), given, out.begin());
  ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(given));
  return given > 0 ? static_cast<int>(given) : std::min(count, 0);
}

}  // namespace fathom::aio
