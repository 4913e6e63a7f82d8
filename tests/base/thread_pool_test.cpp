// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.hpp"

#include <atomic>
#include <future>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(ThreadPool, CoversEveryItemOnce) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> seen(10'007);
  pool.parallel_for(seen.size(), 64, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) ++seen[i];
  });
  for (const auto& count : seen) EXPECT_EQ(count.load(), 1);
}

TEST(ThreadPool, RangesDoNotDependOnThreads) {
  const auto ranges = [](unsigned threads) {
    ThreadPool pool(threads);
    std::mutex mutex;
    std::set<std::pair<std::size_t, std::size_t>> found;
    pool.parallel_for(1000, 64, [&](std::size_t begin, std::size_t end) {
      const std::lock_guard lock(mutex);
      found.emplace(begin, end);
    });
    return found;
  };
  EXPECT_EQ(ranges(1), ranges(3));
}

TEST(ThreadPool, ParallelForWorksInsideItsOwnThreads) {
  ThreadPool pool(1);
  std::promise<int> total;
  pool.post([&] {
    std::atomic<int> sum = 0;
    pool.parallel_for(100, 1,
                      [&](std::size_t begin, std::size_t) { sum += static_cast<int>(begin); });
    total.set_value(sum);
  });
  EXPECT_EQ(total.get_future().get(), 4950);
}

TEST(ThreadPool, RunsWhatWasPostedBeforeItEnds) {
  std::atomic<int> ran = 0;
  {
    ThreadPool pool(2);
    for (int i = 0; i < 100; ++i) pool.post([&] { ++ran; });
  }
  EXPECT_EQ(ran, 100);
}

}  // namespace
}  // namespace fathom
