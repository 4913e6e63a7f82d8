// SPDX-License-Identifier: Apache-2.0
//
// ThreadPool: the process's worker threads (a Boost.Asio pool) and a deterministic parallel_for.
//
// Purpose      Runs checksums, update kernels and completion handlers off the threads that submit
//              I/O or drive the step.
// Ownership    The pool joins its threads on destruction after running what was posted.
// Threads      post and parallel_for may be called from any thread, from pool threads too.
//
//   ThreadPool pool(2);
//   pool.parallel_for(count, 65536, [&](std::size_t begin, std::size_t end) { … });
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace fathom {

class ThreadPool {
 public:
  explicit ThreadPool(unsigned threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  unsigned size() const { return threads_; }

  void post(std::function<void()> task);

  // Calls body(begin, end) for consecutive ranges of `grain` items that cover [0, count). The
  // ranges depend on count and grain only, never on the number of threads, so that a per-range
  // reduction has the same bits everywhere. The caller takes part; returns when all ranges are
  // done. `body` must not throw.
  void parallel_for(std::size_t count, std::size_t grain,
                    const std::function<void(std::size_t, std::size_t)>& body);

 private:
  struct State;
  unsigned threads_;
  std::unique_ptr<State> state_;
};

}  // namespace fathom
