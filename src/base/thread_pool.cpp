// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory_resource>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

namespace fathom {

namespace {

using Memory = std::pmr::polymorphic_allocator<std::byte>;

// What Asio queues, in memory that is used again and again: in the steady state nothing is
// allocated, whichever thread posts.
template <class Work>
struct Queued {
  using allocator_type = Memory;  // NOLINT(readability-identifier-naming): Asio's name
  allocator_type get_allocator() const noexcept { return memory; }
  void operator()() { work(); }

  Work work;
  Memory memory;
};

}  // namespace

struct ThreadPool::State {
  explicit State(unsigned threads) : pool(threads) {}

  template <class Work>
  void post(Work work) {
    boost::asio::post(pool, Queued<Work>{std::move(work), Memory(&blocks)});
  }

  std::pmr::synchronized_pool_resource blocks;  // outlives what lies in it
  boost::asio::thread_pool pool;
};

ThreadPool::ThreadPool(unsigned threads)
    : threads_(std::max(1U, threads)), state_(std::make_unique<State>(threads_)) {}

ThreadPool::~ThreadPool() { state_->pool.join(); }

void ThreadPool::post(std::function<void()> task) { state_->post(std::move(task)); }

void ThreadPool::parallel_for(std::size_t count, std::size_t grain,
                              const std::function<void(std::size_t, std::size_t)>& body) {
  if (count == 0) return;
  const std::size_t ranges = (count + grain - 1) / grain;
  if (ranges == 1 || threads_ == 1) {
    for (std::size_t i = 0; i < ranges; ++i) body(i * grain, std::min(count, (i + 1) * grain));
    return;
  }
  // A helper that starts late finds no range left and returns; it may outlive this call, so what it
  // touches is shared. The latch counts ranges, not helpers: nobody waits for an idle helper.
  struct Job {
    Job(std::size_t range_count, const std::function<void(std::size_t, std::size_t)>& range_body)
        : ranges(range_count), body(range_body), done(static_cast<std::ptrdiff_t>(range_count)) {}
    std::atomic<std::size_t> next{0};
    std::size_t ranges;
    const std::function<void(std::size_t, std::size_t)>& body;
    std::latch done;
  };
  auto job = std::allocate_shared<Job>(Memory(&state_->blocks), ranges, body);
  auto work = [job, count, grain] {
    for (;;) {
      const std::size_t i = job->next.fetch_add(1, std::memory_order_relaxed);
      if (i >= job->ranges) return;
      job->body(i * grain, std::min(count, (i + 1) * grain));
      job->done.count_down();
    }
  };
  const std::size_t helpers = std::min<std::size_t>(threads_, ranges - 1);
  for (std::size_t i = 0; i < helpers; ++i) state_->post(work);
  work();
  job->done.wait();
}

}  // namespace fathom
