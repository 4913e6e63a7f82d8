// SPDX-License-Identifier: Apache-2.0
#include "aio/posix_backend.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include <sys/uio.h>

#include "base/assert.hpp"

namespace fathom::aio {
namespace {

std::int64_t transfer(const Operation& operation) {
  const iovec piece{operation.buffer, operation.bytes};
  const auto offset = static_cast<off_t>(operation.offset);
  const ssize_t moved = operation.direction == Direction::read
                            ? ::preadv2(operation.fd, &piece, 1, offset, operation.flags)
                            : ::pwritev2(operation.fd, &piece, 1, offset, operation.flags);
  return moved < 0 ? -errno : moved;
}

class PosixBackend final : public Backend {
 public:
  PosixBackend(unsigned in_flight, unsigned threads) : capacity_(in_flight) {
    staged_.reserve(in_flight);
    queued_.reserve(in_flight);
    finished_.reserve(in_flight);
    for (unsigned i = 0; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }

  ~PosixBackend() override {
    {
      const std::lock_guard lock(mutex_);
      FATHOM_ASSERT(outstanding_ == finished_.size(), "a backend dies with operations in flight");
      stopping_ = true;
    }
    work_.notify_all();
    workers_.clear();
  }

  Engine engine() const override { return Engine::posix; }
  unsigned capacity() const override { return capacity_; }

  bool prepare(const Operation& operation) override {
    if (outstanding_ >= capacity_) return false;
    staged_.push_back(operation);
    ++outstanding_;
    return true;
  }

  int submit() override {
    if (staged_.empty()) return 0;
    const std::size_t count = staged_.size();
    {
      const std::lock_guard lock(mutex_);
      queued_.erase(queued_.begin(), queued_.begin() + static_cast<std::ptrdiff_t>(taken_));
      taken_ = 0;
      queued_.insert(queued_.end(), staged_.begin(), staged_.end());
    }
    staged_.clear();
    if (count == 1)
      work_.notify_one();
    else
      work_.notify_all();
    return 0;
  }

  int reap(std::span<Completed> out, double timeout) override {
    std::unique_lock lock(mutex_);
    const auto ready = [this] { return !finished_.empty() || woken_; };
    if (timeout < 0)
      done_.wait(lock, ready);
    else if (timeout > 0)
      done_.wait_for(lock, std::chrono::duration<double>(timeout), ready);
    woken_ = false;
    const std::size_t count = std::min(out.size(), finished_.size());
    std::copy_n(finished_.begin(), count, out.begin());
    finished_.erase(finished_.begin(), finished_.begin() + static_cast<std::ptrdiff_t>(count));
    outstanding_ -= count;
    return static_cast<int>(count);
  }

  void wake() override {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    done_.notify_one();
  }

  // A system call that a worker is in cannot be called back; what still waits for a worker can.
  void cancel() override {
    const std::lock_guard lock(mutex_);
    for (; taken_ < queued_.size(); ++taken_) finished_.push_back({queued_[taken_].id, -ECANCELED});
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return stopping_ || taken_ < queued_.size(); });
      if (taken_ == queued_.size()) return;
      const Operation operation = queued_[taken_++];
      lock.unlock();
      const std::int64_t result = transfer(operation);
      lock.lock();
      finished_.push_back({operation.id, result});
      done_.notify_one();
    }
  }

  const unsigned capacity_;
  std::vector<Operation> staged_;  // submitter thread only
  std::size_t outstanding_ = 0;    // submitter thread only: staged, queued, running or finished

  std::mutex mutex_;  // guards all below
  std::condition_variable work_, done_;
  std::vector<Operation> queued_;  // those before taken_ have been taken by a worker
  std::size_t taken_ = 0;
  std::vector<Completed> finished_;
  bool woken_ = false, stopping_ = false;
  std::vector<std::jthread> workers_;
};

}  // namespace

std::unique_ptr<Backend> make_posix_backend(unsigned in_flight, unsigned threads) {
  in_flight = std::max(1U, in_flight);
  if (threads == 0) threads = std::min(in_flight, 16U);
  return std::make_unique<PosixBackend>(in_flight, threads);
}

}  // namespace fathom::aio
