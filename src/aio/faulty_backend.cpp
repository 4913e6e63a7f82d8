// SPDX-License-Identifier: Apache-2.0
#include "aio/faulty_backend.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>

#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.hpp"
#include "base/random.hpp"
#include "base/units.hpp"

namespace fathom::aio {
namespace {

constexpr std::uint64_t ragged = 100;  // bytes that a ragged short transfer leaves out
constexpr int garbage = 0xDB;          // what a buffer holds where nothing was read
constexpr std::uint64_t for_all = std::numeric_limits<std::uint64_t>::max();

using AlignedBytes = std::unique_ptr<std::byte, decltype(&std::free)>;

AlignedBytes aligned_bytes(std::uint64_t bytes) {
  return {static_cast<std::byte*>(std::aligned_alloc(io_alignment, round_up(bytes, io_alignment))),
          &std::free};
}

// What the file holds there now; zeros where it holds nothing.
AlignedBytes contents(const Operation& operation) {
  AlignedBytes bytes = aligned_bytes(operation.bytes);
  std::memset(bytes.get(), 0, operation.bytes);
  std::uint64_t got = 0;
  while (got < operation.bytes) {
    const ssize_t more = ::pread(operation.fd, bytes.get() + got, operation.bytes - got,
                                 static_cast<off_t>(operation.offset + got));
    if (more <= 0 && !(more < 0 && errno == EINTR)) break;
    got += static_cast<std::uint64_t>(std::max<ssize_t>(more, 0));
  }
  return bytes;
}

// Another place of the file for an operation of this size, the neighbour if it can be.
std::optional<std::uint64_t> elsewhere(const Operation& operation) {
  if (operation.offset >= operation.bytes) return operation.offset - operation.bytes;
  struct stat info{};
  const std::uint64_t size =
      ::fstat(operation.fd, &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
  const std::uint64_t end = operation.offset + operation.bytes;
  if (end + operation.bytes <= size) return end;
  if (operation.offset > 0) return 0;
  if (end + io_alignment <= size) return io_alignment;
  return std::nullopt;
}

}  // namespace

FaultyBackend::FaultyBackend(std::unique_ptr<Backend> inner, std::vector<FaultRule> rules)
    : inner_(std::move(inner)), plan_(std::move(rules)) {}

FaultyBackend::~FaultyBackend() {
  FATHOM_ASSERT(occupied() == 0, "a backend dies with operations in flight");
}

void FaultyBackend::set_rules(std::vector<FaultRule> rules) {
  const std::lock_guard lock(mutex_);
  plan_ = FaultPlan(std::move(rules));
  history_.clear();
  operations_.store(0);
  struck_.store(0);
  released_.store(false);
}

void FaultyBackend::release() {
  released_.store(true);
  inner_->wake();
}

std::size_t FaultyBackend::occupied() const {
  return flights_.size() + hanging_.size() + answered_.size() + ready_.size() + held_.size();
}

void FaultyBackend::remember(const Operation& operation) {
  if (operation.direction != Direction::write || !plan_.has(Fault::stale)) return;
  const AlignedBytes before = contents(operation);
  for (std::uint64_t at = 0; at < operation.bytes; at += io_alignment) {
    const std::byte* block = before.get() + at;
    history_[{operation.fd, operation.offset + at}].assign(
        block, block + std::min(io_alignment, operation.bytes - at));
  }
}

void FaultyBackend::make_stale(const Operation& operation, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  for (std::uint64_t at = 0; at < bytes; at += io_alignment) {
    const auto found = history_.find({operation.fd, operation.offset + at});
    if (found == history_.end()) continue;
    std::copy_n(found->second.begin(), std::min<std::uint64_t>(found->second.size(), bytes - at),
                operation.buffer + at);
  }
}

std::optional<Operation> FaultyBackend::change(Flight& flight, const FaultRule* rule) {
  Operation changed = flight.operation;
  if (rule == nullptr) return changed;
  const std::uint64_t bytes = changed.bytes;
  const bool reading = changed.direction == Direction::read;
  const auto write_instead = [&](AlignedBytes copy) {
    flight.copy = std::move(copy);
    changed.buffer = flight.copy.get();
  };
  // New bytes up to `kept`, then what is there already.
  const auto write_only = [&](std::uint64_t kept) {
    AlignedBytes mixed = contents(changed);
    std::memcpy(mixed.get(), changed.buffer, kept);
    write_instead(std::move(mixed));
  };
  if (const auto result = reported_result(rule->fault)) {
    answered_.push_back({changed.id, *result});
    return std::nullopt;
  }
  switch (rule->fault) {
    case Fault::hang: hanging_.push_back(changed); return std::nullopt;
    case Fault::lost_write:
      answered_.push_back({changed.id, static_cast<std::int64_t>(bytes)});
      return std::nullopt;
    case Fault::short_aligned:
      if (bytes > io_alignment) changed.bytes = round_up(bytes / 2, io_alignment);
      break;
    case Fault::short_ragged:
      if (!reading && bytes > ragged) write_only(bytes - ragged);
      break;
    case Fault::torn: write_only(bytes / 2); break;
    case Fault::flip_before_write: {
      AlignedBytes copy = aligned_bytes(bytes);
      std::memcpy(copy.get(), changed.buffer, bytes);
      copy.get()[bytes / 2] ^= std::byte{1};
      write_instead(std::move(copy));
      break;
    }
    case Fault::misdirected:
      if (const auto place = elsewhere(changed)) {
        changed.offset = *place;
        break;
      }
      // Nowhere else in this file: another file's then, as far as the caller can see.
      if (reading) std::memset(changed.buffer, garbage, bytes);
      answered_.push_back({changed.id, static_cast<std::int64_t>(bytes)});
      return std::nullopt;
    case Fault::submit_busy: submit_busy_ = true; break;
    case Fault::submit_interrupted: submit_interrupted_ = true; break;
    case Fault::reap_interrupted: reap_interrupted_ = true; break;
    default: break;  // made when it completes
  }
  return changed;
}

bool FaultyBackend::prepare(const Operation& operation) {
  // Own answers take no room in the inner backend; its capacity bounds both together.
  if (occupied() >= capacity()) return false;
  const std::lock_guard lock(mutex_);
  const FaultRule* rule = plan_.due(operation);
  const bool no_room = rule != nullptr && rule->fault == Fault::no_room && occupied() > 0;
  if (!no_room) {
    Flight flight{operation, std::nullopt};
    if (rule != nullptr) flight.fault = rule->fault;
    remember(operation);
    if (const auto changed = change(flight, rule)) {
      if (!inner_->prepare(*changed)) return false;
      flights_.emplace(operation.id, std::move(flight));
    }
  }
  plan_.count(operation);
  operations_.fetch_add(1);
  if (rule != nullptr) struck_.fetch_add(1);
  return !no_room;
}

int FaultyBackend::submit() {
  if (std::exchange(submit_busy_, false)) return -EAGAIN;
  if (std::exchange(submit_interrupted_, false)) return -EINTR;
  return inner_->submit();
}

// Hands on what has completed, and what waited for it.
void FaultyBackend::pass(const Completed& completed) {
  ready_.push_back(completed);
  std::vector<Completed> next;
  std::erase_if(held_, [&](Held& held) {
    if (held.others == for_all || --held.others > 0) return false;
    next.push_back(held.completed);
    return true;
  });
  ready_.insert(ready_.end(), next.begin(), next.end());
}

void FaultyBackend::settle(const Completed& completed) {
  const auto at = flights_.find(completed.id);
  FATHOM_ASSERT(at != flights_.end(), "the inner backend completed an unknown operation");
  const Flight flight = std::move(at->second);
  flights_.erase(at);
  const Operation& operation = flight.operation;
  const bool reading = operation.direction == Direction::read;
  Completed changed = completed;
  if (flight.fault == Fault::delay) {
    held_.push_back({completed, for_all});
    return;
  }
  if (flight.fault == Fault::reorder) {
    held_.push_back({completed, 1 + CounterRandom(completed.id, "reorder").bits(0) % 4});
    return;
  }
  if (flight.fault && completed.result > 0) {
    const auto moved = static_cast<std::uint64_t>(completed.result);
    switch (*flight.fault) {
      case Fault::short_ragged:
        if (moved <= ragged) break;
        changed.result = static_cast<std::int64_t>(moved - ragged);
        if (reading) std::memset(operation.buffer + changed.result, garbage, ragged);
        break;
      case Fault::flip_on_read: operation.buffer[moved / 2] ^= std::byte{1}; break;
      case Fault::stale: make_stale(operation, moved); break;
      default: break;
    }
  }
  pass(changed);
}

int FaultyBackend::reap(std::span<Completed> out, double timeout) {
  if (std::exchange(reap_interrupted_, false)) return -EINTR;
  if (released_.load()) {
    for (const Operation& operation : std::exchange(hanging_, {}))
      answered_.push_back({operation.id, -ECANCELED});
  }
  const bool only_held = !held_.empty() && flights_.empty();
  if (!answered_.empty() || !ready_.empty() || only_held) timeout = 0;
  batch_.resize(out.size());
  const int count = inner_->reap(batch_, timeout);
  for (int i = 0; i < count; ++i) settle(batch_[static_cast<std::size_t>(i)]);
  for (const Completed& answer : std::exchange(answered_, {})) pass(answer);
  if (ready_.empty() && flights_.empty()) {
    for (const Held& held : std::exchange(held_, {})) ready_.push_back(held.completed);
  }
  const std::size_t given = std::min(out.size(), ready_.size());
  std::copy_n(ready_.begin(), given, out.begin());
  ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(given));
  return given > 0 ? static_cast<int>(given) : std::min(count, 0);
}

}  // namespace fathom::aio
