// SPDX-License-Identifier: Apache-2.0
//
// GatedBackend: answers only when the test says so, and shows what it was given. It touches no
// memory and no file.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "aio/backend.hpp"

namespace fathom::aio {

// What the test and the backend share; it outlives the backend.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Operation> started;  // in order
  std::deque<Operation> waiting;   // not answered
  unsigned submits = 0;
  std::size_t most_in_flight = 0;
  bool woken = false, open = false;

  // Waits until `count` operations have been started in all.
  void await(std::size_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return started.size() >= count; });
  }
  // The oldest operation that waits, answered with `result` (by default: all of it).
  void answer_oldest() { answer_oldest_with(static_cast<std::int64_t>(oldest().bytes)); }
  void answer_oldest_with(std::int64_t result) {
    const std::lock_guard lock(mutex);
    answers.push_back({waiting.at(0).id, result});
    waiting.pop_front();
    changed.notify_all();
  }
  Operation oldest() {
    const std::lock_guard lock(mutex);
    return waiting.at(0);
  }
  std::size_t count() {
    const std::lock_guard lock(mutex);
    return started.size();
  }
  void answer_all_from_now_on() {
    const std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
  std::deque<Completed> answers;
};

class GatedBackend final : public Backend {
 public:
  GatedBackend(Gate& gate, unsigned capacity) : gate_(gate), capacity_(capacity) {}
  Engine engine() const override { return Engine::posix; }
  unsigned capacity() const override { return capacity_; }
  bool prepare(const Operation& operation) override {
    staged_.push_back(operation);
    return true;
  }
  int submit() override {
    const std::lock_guard lock(gate_.mutex);
    if (staged_.empty()) return 0;
    ++gate_.submits;
    for (const Operation& operation : staged_) {
      gate_.started.push_back(operation);
      gate_.waiting.push_back(operation);
    }
    staged_.clear();
    gate_.most_in_flight = std::max(gate_.most_in_flight, gate_.waiting.size());
    gate_.changed.notify_all();
    return 0;
  }
  int reap(std::span<Completed> out, double timeout) override {
    std::unique_lock lock(gate_.mutex);
    const auto ready = [&] {
      return gate_.woken || !gate_.answers.empty() || (gate_.open && !gate_.waiting.empty());
    };
    if (timeout != 0) gate_.changed.wait(lock, ready);
    gate_.woken = false;
    if (gate_.open) {
      for (const Operation& operation : gate_.waiting)
        gate_.answers.push_back({operation.id, static_cast<std::int64_t>(operation.bytes)});
      gate_.waiting.clear();
    }
    std::size_t count = 0;
    while (count < out.size() && !gate_.answers.empty()) {
      out[count++] = gate_.answers.front();
      gate_.answers.pop_front();
    }
    return static_cast<int>(count);
  }
  void wake() override {
    const std::lock_guard lock(gate_.mutex);
    gate_.woken = true;
    gate_.changed.notify_all();
  }
  void cancel() override {}

 private:
  Gate& gate_;
  const unsigned capacity_;
  std::vector<Operation> staged_;
};

}  // namespace fathom::aio
