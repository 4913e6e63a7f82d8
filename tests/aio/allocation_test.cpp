// SPDX-License-Identifier: Apache-2.0
//
// In the steady state the queue allocates nothing: operator new is counted. A program of its own.
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include <gtest/gtest.h>

#include "aio/arena.hpp"
#include "aio/engines.hpp"
#include "scratch_directory.hpp"
#include "transfers.hpp"

namespace {
std::atomic<std::uint64_t> allocations{0};
}

// GCC takes the pair for a mismatch of new and free.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace fathom::aio {
namespace {

class SteadyState : public testing::TestWithParam<Engine> {};

TEST_P(SteadyState, AllocatesNothing) {
  auto backend = make_backend(GetParam(), 16);
  if (!backend) GTEST_SKIP() << backend.error().message();
  const ScratchDirectory directory;
  auto file = File::create_scratch(directory.path(), 4 * MiB);
  ASSERT_TRUE(file) << file.error().message();
  auto arena = Arena::allocate(2 * MiB);
  ASSERT_TRUE(arena) << arena.error().message();
  auto queue = Queue::over(std::move(*backend), {.block_size = 64 * KiB, .queue_depth = 16});
  queue->attach(*arena);
  queue->attach(*file);
  std::atomic<unsigned> succeeded{0};
  const auto round = [&] {  // whole blocks, small neighbours, several priorities
    for (std::uint64_t i = 0; i < 64; ++i)
      queue->submit({.direction = i % 2 == 0 ? Direction::write : Direction::read,
                     .priority = i % 3 == 0 ? Priority::demand : Priority::write_back,
                     .file = &*file,
                     .offset = i * 16 * KiB,
                     .buffer = arena->at(i * 16 * KiB),
                     .bytes = 16 * KiB << i % 3},
                    [&succeeded](Result<void> done) { succeeded += done.has_value(); });
    queue->drain();
  };
  for (int i = 0; i < 10; ++i) round();
  const std::uint64_t before = allocations;
  for (int i = 0; i < 50; ++i) round();
  EXPECT_EQ(allocations - before, 0U);
  EXPECT_EQ(succeeded, 60U * 64U);
}

INSTANTIATE_TEST_SUITE_P(Engines, SteadyState,
                         testing::Values(Engine::posix, Engine::io_uring, Engine::libaio),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

}  // namespace
}  // namespace fathom::aio
