// SPDX-License-Identifier: Apache-2.0
//
// ControlledBackend: an I/O engine whose operations complete when, and in the order, a test says.
//
// Bytes move at completion, by pread and pwrite, so whoever relies on an order that nothing
// guarantees reads the wrong bytes.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <vector>

#include <unistd.h>

#include "aio/backend.hpp"

namespace fathom::swap {

// The test's side; outlives the backend.
class Control {
 public:
  // -errno with which operation `nth` (counted from 0 as they are started) fails; 0: it works.
  using Fault = std::function<int(std::uint64_t nth)>;

  void fail_with(Fault fault) {
    const std::lock_guard lock(mutex_);
    fault_ = std::move(fault);
  }
  // Operations complete one at a time in a random order instead of as they were started.
  void shuffle(std::uint64_t seed) {
    const std::lock_guard lock(mutex_);
    random_.emplace(seed);
  }
  // Nothing completes any more until open().
  void close() { set_gate(false); }
  void open() { set_gate(true); }

  // Blocks until `count` operations have been started since creation.
  void await_started(std::uint64_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return started_ >= count; });
  }
  std::uint64_t started() const {
    const std::lock_guard lock(mutex_);
    return started_;
  }
  // File offsets of all operations in the order in which they were started.
  std::vector<std::uint64_t> offsets() const {
    const std::lock_guard lock(mutex_);
    return offsets_;
  }
  std::size_t in_flight() const {
    const std::lock_guard lock(mutex_);
    return flying_.size();
  }

 private:
  friend class ControlledBackend;

  struct Flying {
    aio::Operation operation;
    int failure = 0;
  };

  void set_gate(bool open) {
    const std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Fault fault_;
  std::optional<std::mt19937_64> random_;
  bool open_ = true, woken_ = false;
  std::uint64_t started_ = 0;
  std::vector<Flying> flying_;
  std::vector<std::uint64_t> offsets_;
};

class ControlledBackend : public aio::Backend {
 public:
  explicit ControlledBackend(Control& control) : control_(control) {}

  aio::Engine engine() const override { return aio::Engine::posix; }
  unsigned capacity() const override { return 64; }

  bool prepare(const aio::Operation& operation) override {
    prepared_.push_back(operation);
    return true;
  }

  int submit() override {
    const std::lock_guard lock(control_.mutex_);
    for (const aio::Operation& operation : prepared_) {
      const std::uint64_t nth = control_.started_++;
      control_.offsets_.push_back(operation.offset);
      control_.flying_.push_back({operation, control_.fault_ ? control_.fault_(nth) : 0});
    }
    if (!prepared_.empty()) control_.changed_.notify_all();
    prepared_.clear();
    return 0;
  }

  int reap(std::span<aio::Completed> out, double timeout) override {
    std::unique_lock lock(control_.mutex_);
    const auto something = [&] {
      return control_.woken_ || (control_.open_ && !control_.flying_.empty());
    };
    if (timeout < 0)
      control_.changed_.wait(lock, something);
    else
      control_.changed_.wait_for(lock, std::chrono::duration<double>(timeout), something);
    control_.woken_ = false;
    if (!control_.open_ || control_.flying_.empty() || out.empty()) return 0;
    std::size_t at = 0;
    if (control_.random_) at = (*control_.random_)() % control_.flying_.size();
    const Control::Flying done = control_.flying_[at];
    control_.flying_.erase(control_.flying_.begin() + static_cast<std::ptrdiff_t>(at));
    out[0] = {.id = done.operation.id, .result = run(done)};
    return 1;
  }

  void wake() override {
    const std::lock_guard lock(control_.mutex_);
    control_.woken_ = true;
    control_.changed_.notify_all();
  }

  void cancel() override {}

 private:
  static std::int64_t run(const Control::Flying& flying) {
    if (flying.failure != 0) return flying.failure;
    const aio::Operation& op = flying.operation;
    const auto offset = static_cast<off_t>(op.offset);
    const ssize_t moved = op.direction == aio::Direction::read
                              ? ::pread(op.fd, op.buffer, op.bytes, offset)
                              : ::pwrite(op.fd, op.buffer, op.bytes, offset);
    return moved < 0 ? -errno : moved;
  }

  Control& control_;
  std::vector<aio::Operation> prepared_;
};

}  // namespace fathom::swap
